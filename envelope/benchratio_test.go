package envelope

import (
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"
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

// inCache makes a job do each request with the ciphertext of the first, which is then in the processor's
// cache.
func inCache(job func(off int64)) func(off int64) { return func(int64) { job(0) } }

// BenchmarkEngineAgainstGCM reports the throughput of sequential requests of 1 MiB to a file on tmpfs as
// a share of that of AES-GCM alone on the same blocks, as they stand in memory and as they stand in the
// processor's cache. Both take turns, so that the load of the machine is the same for them.
func BenchmarkEngineAgainstGCM(b *testing.B) {
	for _, c := range []struct {
		name    string
		workers int
	}{{"one-core", 1}, {"all-cores", runtime.GOMAXPROCS(0)}} {
		f := benchFileOn(b, newTmpfsStore(b), c.workers)
		p, g := make([]byte, benchRequest), newGCMJob(c.workers)
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
		b.Run("write/"+c.name+"/memory", func(b *testing.B) { takeTurns(b, g.seal, write) })
		b.Run("write/"+c.name+"/cache", func(b *testing.B) { takeTurns(b, inCache(g.seal), write) })
		must(b, f.Sync())
		b.Run("read/"+c.name+"/memory", func(b *testing.B) { takeTurns(b, g.open, read) })
		b.Run("read/"+c.name+"/cache", func(b *testing.B) { takeTurns(b, inCache(g.open), read) })
	}
}

// takeTurns runs request and cipher by turns and reports the median of both, and their ratio, by the
// clock and by the time of the processors. Medians, because on a busy machine a turn now and then has to
// wait for a core, and which one is chance.
func takeTurns(b *testing.B, cipher, request func(off int64)) {
	var engine, alone turns
	off := int64(0)
	for b.Loop() {
		engine.time(request, off)
		alone.time(cipher, off)
		off = (off + benchRequest) % benchSize
	}
	b.ReportMetric(rate(engine.clock), "engine-MB/s")
	b.ReportMetric(rate(alone.clock), "gcm-MB/s")
	b.ReportMetric(100*rate(engine.clock)/rate(alone.clock), "%-of-gcm")
	b.ReportMetric(100*rate(engine.cpu)/rate(alone.cpu), "%-of-gcm-cpu")
	b.ReportMetric(0, "ns/op")
}

// turns are the times that requests took.
type turns struct{ clock, cpu []time.Duration }

func (t *turns) time(do func(off int64), off int64) {
	cpu, clock := cpuTime(), time.Now()
	do(off)
	t.clock, t.cpu = append(t.clock, time.Since(clock)), append(t.cpu, cpuTime()-cpu)
}

// cpuTime returns the processor time of this process, all threads together.
func cpuTime() time.Duration {
	const processCPUTime = 2 // CLOCK_PROCESS_CPUTIME_ID
	var t syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, processCPUTime, uintptr(unsafe.Pointer(&t)), 0)
	return time.Duration(t.Nano())
}

// rate returns the median in MB/s.
func rate(d []time.Duration) float64 {
	slices.Sort(d)
	return benchRequest / 1e6 / d[len(d)/2].Seconds()
}
