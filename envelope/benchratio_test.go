package envelope

import (
	"os"
	"runtime"
	"testing"
	"time"
)

// tmpfsStore is a backing file on tmpfs, so that nothing but the engine and the copies to and from the
// page cache is measured.
type tmpfsStore struct{ *os.File }

func (s tmpfsStore) Size() (int64, error) {
	st, err := s.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func newTmpfsStore(b *testing.B) tmpfsStore {
	dir := "/dev/shm"
	if _, err := os.Stat(dir); err != nil {
		dir = b.TempDir()
	}
	f, err := os.CreateTemp(dir, "kmsfs-bench-")
	must(b, err)
	must(b, os.Remove(f.Name()))
	b.Cleanup(func() { f.Close() })
	return tmpfsStore{f}
}

// gcmJob does with AES-GCM itself what a request of benchRequest bytes needs of it.
type gcmJob struct {
	plain, sealed []byte // 256 messages of 4096 bytes, and with their tags
	workers       int
}

func newGCMJob(workers int) *gcmJob {
	const n = benchRequest / PageSize
	g := &gcmJob{plain: make([]byte, benchRequest), sealed: make([]byte, n*(PageSize+tagSize)), workers: workers}
	g.seal()
	return g
}

// blocks calls do for each block, on all workers.
func (g *gcmJob) blocks(do func(plain, sealed []byte)) {
	spread(benchRequest/PageSize, g.workers, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			do(g.plain[i*PageSize:(i+1)*PageSize], g.sealed[i*(PageSize+tagSize):(i+1)*(PageSize+tagSize)])
		}
	})
}

func (g *gcmJob) seal() {
	var key [KeySize]byte
	a, nonce, aad := newAEAD(&key), make([]byte, nonceSize), make([]byte, pageAADSize)
	g.blocks(func(plain, sealed []byte) { a.Seal(sealed[:0], nonce, plain, aad) })
}

func (g *gcmJob) open() {
	var key [KeySize]byte
	a, nonce, aad := newAEAD(&key), make([]byte, nonceSize), make([]byte, pageAADSize)
	g.blocks(func(plain, sealed []byte) {
		if _, err := a.Open(plain[:0], nonce, sealed, aad); err != nil {
			panic(err)
		}
	})
}

// BenchmarkEngineAgainstGCM reports the throughput of sequential requests of 1 MiB to a file on tmpfs as
// a share of that of AES-GCM alone on the same blocks. Both take turns, so that the load of the machine
// is the same for them.
func BenchmarkEngineAgainstGCM(b *testing.B) {
	for _, c := range []struct {
		name    string
		workers int
	}{{"one-core", 1}, {"all-cores", runtime.GOMAXPROCS(0)}} {
		f := benchFileOn(b, newTmpfsStore(b), c.workers)
		p, g := make([]byte, benchRequest), newGCMJob(c.workers)
		b.Run("write/"+c.name, func(b *testing.B) {
			takeTurns(b, g.seal, func(off int64) {
				_, err := f.WriteAt(p, off)
				must(b, err)
				if off == benchSize-benchRequest {
					must(b, f.Sync())
				}
			})
		})
		must(b, f.Sync())
		b.Run("read/"+c.name, func(b *testing.B) {
			takeTurns(b, g.open, func(off int64) {
				_, err := f.ReadAt(p, off)
				must(b, err)
			})
		})
	}
}

// takeTurns times request and cipher by turns and reports both and their ratio.
func takeTurns(b *testing.B, cipher func(), request func(off int64)) {
	var engine, alone time.Duration
	off := int64(0)
	n := 0
	for b.Loop() {
		start := time.Now()
		request(off)
		middle := time.Now()
		cipher()
		engine += middle.Sub(start)
		alone += time.Since(middle)
		off = (off + benchRequest) % benchSize
		n++
	}
	rate := func(d time.Duration) float64 { return float64(n) * benchRequest / 1e6 / d.Seconds() }
	b.ReportMetric(rate(engine), "engine-MB/s")
	b.ReportMetric(rate(alone), "gcm-MB/s")
	b.ReportMetric(100*alone.Seconds()/engine.Seconds(), "%-of-gcm")
	b.ReportMetric(0, "ns/op")
}
