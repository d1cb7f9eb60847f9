package envelope

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"runtime"
	"testing"
)

const (
	benchSize    = 64 << 20
	benchRequest = 1 << 20
)

// benchFile returns a synced file of benchSize bytes and a buffer of benchRequest bytes.
func benchFile(b *testing.B, workers int) (*File, []byte) {
	return benchFileOn(b, &memStore{b: make([]byte, 0, 3*benchSize)}, workers), make([]byte, benchRequest)
}

// benchFileOn returns a synced file of benchSize bytes in s.
func benchFileOn(b *testing.B, s Store, workers int) *File {
	o := optionsFor(b, s)
	o.Workers = workers
	f, err := CreateFile(o, VolumeID{1}, FileID{2}, make([]byte, 200), 0)
	must(b, err)
	b.Cleanup(f.Wipe)
	p := make([]byte, benchRequest)
	for off := int64(0); off < benchSize; off += benchRequest {
		_, err := f.WriteAt(p, off)
		must(b, err)
	}
	must(b, f.Sync())
	return f
}

// BenchmarkRawGCM is what the same bytes cost without an engine: 4096-byte messages under one key.
func BenchmarkRawGCM(b *testing.B) {
	var key [KeySize]byte
	a := newAEAD(&key)
	plain, sealed := make([]byte, benchRequest), make([]byte, benchRequest+tagSize)
	nonce, aad := make([]byte, nonceSize), make([]byte, pageAADSize)
	b.Run("seal", func(b *testing.B) {
		b.SetBytes(benchRequest)
		for b.Loop() {
			for i := 0; i < benchRequest; i += PageSize {
				a.Seal(sealed[i:i], nonce, plain[i:i+PageSize], aad)
			}
		}
	})
	one := a.Seal(nil, nonce, plain[:PageSize], aad)
	many := make([][]byte, benchRequest/PageSize)
	for i := range many {
		many[i] = append([]byte(nil), one...)
	}
	b.Run("open", func(b *testing.B) {
		b.SetBytes(benchRequest)
		for b.Loop() {
			for i, m := range many {
				if _, err := a.Open(plain[i*PageSize:i*PageSize], nonce, m, aad); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func BenchmarkSequential1MiB(b *testing.B) {
	for name, workers := range map[string]int{"one-core": 1, "all-cores": runtime.GOMAXPROCS(0)} {
		f, p := benchFile(b, workers)
		b.Run("write/"+name, func(b *testing.B) {
			b.SetBytes(benchRequest)
			off := int64(0)
			for b.Loop() {
				_, err := f.WriteAt(p, off)
				must(b, err)
				if off = (off + benchRequest) % benchSize; off == 0 {
					must(b, f.Sync())
				}
			}
		})
		must(b, f.Sync())
		b.Run("read/"+name, func(b *testing.B) {
			b.SetBytes(benchRequest)
			off := int64(0)
			for b.Loop() {
				_, err := f.ReadAt(p, off)
				must(b, err)
				off = (off + benchRequest) % benchSize
			}
		})
	}
}

func BenchmarkRandom4KiB(b *testing.B) {
	f, p := benchFile(b, 1)
	p = p[:PageSize]
	r := mathrand.New(mathrand.NewPCG(1, 2))
	b.Run("write", func(b *testing.B) {
		b.SetBytes(PageSize)
		for b.Loop() {
			_, err := f.WriteAt(p, r.Int64N(benchSize/PageSize)*PageSize)
			must(b, err)
		}
	})
	b.Run("write+sync", func(b *testing.B) {
		b.SetBytes(PageSize)
		for b.Loop() {
			_, err := f.WriteAt(p, r.Int64N(benchSize/PageSize)*PageSize)
			must(b, err)
			must(b, f.Sync())
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(PageSize)
		for b.Loop() {
			_, err := f.ReadAt(p, r.Int64N(benchSize/PageSize)*PageSize)
			must(b, err)
		}
	})
}

func BenchmarkCreateSmallFile(b *testing.B) {
	data := make([]byte, 2000)
	_, _ = rand.Read(data)
	for b.Loop() {
		s := &memStore{}
		f, err := CreateFile(optionsFor(b, s), VolumeID{1}, FileID{2}, make([]byte, 200), 0)
		must(b, err)
		_, err = f.WriteAt(data, 0)
		must(b, err)
		must(b, f.Commit())
		f.Wipe()
	}
}

func TestBigRequestsDoNotAllocatePerBlock(t *testing.T) {
	for _, workers := range []int{1, 2} {
		s := &memStore{b: make([]byte, 0, 64<<20)}
		o := optionsFor(t, s)
		o.Workers = workers
		f, err := CreateFile(o, VolumeID{1}, FileID{2}, nil, 0)
		must(t, err)
		p := pattern(1, benchRequest)
		for range 3 {
			writeSynced(t, f, p)
		}
		limit := float64(10 + 10*workers) // of 256 blocks and 3 tag pages
		if n := testing.AllocsPerRun(50, func() { _, err = f.ReadAt(p, 0) }); n > limit || err != nil {
			t.Errorf("%d workers: read of 1 MiB allocates %.0f times, error %v", workers, n, err)
		}
		if n := testing.AllocsPerRun(50, func() { _, err = f.WriteAt(p, 0) }); n > limit || err != nil {
			t.Errorf("%d workers: write of 1 MiB allocates %.0f times, error %v", workers, n, err)
		}
		f.Wipe()
	}
}

func TestParallelAndSerialSealingAgree(t *testing.T) {
	p := pattern(5, 5<<20+123)
	for _, workers := range []int{0, 1, 2, 3, 7, 64} {
		s := &memStore{}
		o := optionsFor(t, s)
		o.Workers = workers
		f, err := CreateFile(o, VolumeID{1}, FileID{2}, nil, 0)
		must(t, err)
		writeSynced(t, f, p)
		f.Wipe()
		for _, readers := range []int{1, 5} {
			r, err := ReadRoots(s)
			must(t, err)
			o.Workers = readers
			g, err := OpenFile(o, r, Trust{})
			must(t, err)
			wantContent(t, g, p)
			g.Wipe()
		}
	}
}
