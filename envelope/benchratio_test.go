package envelope

import (
	"os"
	"runtime"
	"slices"
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

// gcmJob does with AES-GCM itself what the engine does with it: it seals a file of benchSize bytes in
// memory, or opens it, one request of benchRequest bytes at a time, in messages of 4096 bytes.
type gcmJob struct {
	plain   []byte
	sealed  []byte // of the whole file, each message with its tag
	workers int
}

const sealedRequest = benchRequest / PageSize * (PageSize + tagSize)

func newGCMJob(workers int) *gcmJob {
	g := &gcmJob{plain: make([]byte, benchRequest), sealed: make([]byte, benchSize/benchRequest*sealedRequest), workers: workers}
	for off := int64(0); off < benchSize; off += benchRequest {
		g.seal(off)
	}
	return g
}

// blocks calls do for each block of a request, on all workers.
func (g *gcmJob) blocks(off int64, do func(plain, sealed []byte)) {
	at := g.sealed[off/benchRequest*sealedRequest:]
	spread(benchRequest/PageSize, g.workers, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			do(g.plain[i*PageSize:(i+1)*PageSize], at[i*(PageSize+tagSize):(i+1)*(PageSize+tagSize)])
		}
	})
}

func (g *gcmJob) seal(off int64) {
	var key [KeySize]byte
	a, nonce, aad := newAEAD(&key), make([]byte, nonceSize), make([]byte, pageAADSize)
	g.blocks(off, func(plain, sealed []byte) { a.Seal(sealed[:0], nonce, plain, aad) })
}

func (g *gcmJob) open(off int64) {
	var key [KeySize]byte
	a, nonce, aad := newAEAD(&key), make([]byte, nonceSize), make([]byte, pageAADSize)
	g.blocks(off, func(plain, sealed []byte) {
		if _, err := a.Open(plain[:0], nonce, sealed, aad); err != nil {
			panic(err)
		}
	})
}

// BenchmarkEngineAgainstGCM reports the throughput of sequential requests of 1 MiB as a share of that of
// AES-GCM alone on the same blocks: to a file on tmpfs, where the kernel copies what the engine writes
// and reads, and to a store in the memory of the process. Engine and cipher take turns, so that the
// load of the machine is the same for both.
func BenchmarkEngineAgainstGCM(b *testing.B) {
	stores := map[string]func() Store{
		"tmpfs":  func() Store { return newTmpfsStore(b) },
		"memory": func() Store { return &memStore{b: make([]byte, 0, 3*benchSize)} },
	}
	for _, name := range []string{"tmpfs", "memory"} {
		for _, cores := range []string{"one-core", "all-cores"} {
			workers := map[string]int{"one-core": 1, "all-cores": runtime.GOMAXPROCS(0)}[cores]
			f, p, g := benchFileOn(b, stores[name](), workers), make([]byte, benchRequest), newGCMJob(workers)
			write := func(off int64) {
				_, err := f.WriteAt(p, off)
				must(b, err)
				if off == benchSize-benchRequest {
					must(b, f.Sync())
				}
			}
			read := func(off int64) {
				_, err := f.ReadAt(p, off)
				must(b, err)
			}
			for off := int64(0); off < 3*benchSize; off += benchRequest {
				write(off % benchSize) // until pages are used again
			}
			c := newCopyJob(b, stores[name](), workers)
			b.Run("write/"+cores+"/"+name, func(b *testing.B) { takeTurns(b, g.seal, c.write, write) })
			must(b, f.Sync())
			b.Run("read/"+cores+"/"+name, func(b *testing.B) { takeTurns(b, g.open, c.read, read) })
		}
	}
}

// copyJob moves the same bytes to and from a store without any encryption.
type copyJob struct {
	store   Store
	workers int
}

// newCopyJob fills s.
func newCopyJob(b *testing.B, s Store, workers int) *copyJob {
	c := &copyJob{s, workers}
	for off := int64(0); off < benchSize; off += benchRequest {
		c.write(off)
	}
	b.Cleanup(func() { must(b, s.Truncate(0)) })
	return c
}

func (c *copyJob) write(off int64) { c.pieces(off, c.store.WriteAt) }
func (c *copyJob) read(off int64)  { c.pieces(off, c.store.ReadAt) }

// pieces calls do as the engine does: for each piece, with a buffer that is in the processor's cache.
func (c *copyJob) pieces(off int64, do func(p []byte, off int64) (int, error)) {
	const piece = pieceBlocks * PageSize
	spread(benchRequest/piece, c.workers, func(lo, hi int) {
		s := getScratch()
		defer s.release()
		for i := lo; i < hi; i++ {
			if _, err := do(s.piece[:piece], off+int64(i*piece)); err != nil {
				panic(err)
			}
		}
	})
}

// takeTurns runs request, cipher and copies by turns and reports the median of each, and what the
// engine reaches of the cipher, and of cipher and copies together. Medians, because on a busy machine a
// turn now and then has to wait for a core, and which one is chance.
func takeTurns(b *testing.B, cipher, copies, request func(off int64)) {
	var engine, alone, moved turns
	off := int64(0)
	for b.Loop() {
		engine.time(request, off)
		alone.time(cipher, off)
		moved.time(copies, off)
		off = (off + benchRequest) % benchSize
	}
	e, g, c := rate(engine), rate(alone), rate(moved)
	b.ReportMetric(e, "engine-MB/s")
	b.ReportMetric(g, "gcm-MB/s")
	b.ReportMetric(c, "copy-MB/s")
	b.ReportMetric(100*e/g, "%-of-gcm")
	b.ReportMetric(100*e*(1/g+1/c), "%-of-gcm+copy")
	b.ReportMetric(0, "ns/op")
}

// turns are the times that requests took.
type turns []time.Duration

func (t *turns) time(do func(off int64), off int64) {
	start := time.Now()
	do(off)
	*t = append(*t, time.Since(start))
}

// rate returns the median in MB/s.
func rate(t turns) float64 {
	slices.Sort(t)
	return benchRequest / 1e6 / t[len(t)/2].Seconds()
}
