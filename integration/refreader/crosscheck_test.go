package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/kmsfs/kmsfs/envelope"
)

// memory is a backing file in memory.
type memory struct {
	mu sync.Mutex // of writes, which come from several goroutines
	b  []byte
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(p, m.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if end := int(off) + len(p); end > len(m.b) {
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

func (m *memory) Truncate(size int64) error {
	m.b = append(m.b[:min(int(size), len(m.b))], make([]byte, max(0, int(size)-len(m.b)))...)
	return nil
}

func (m *memory) Sync() error          { return nil }
func (m *memory) Size() (int64, error) { return int64(len(m.b)), nil }

// pair is a file of the real engine beside its plain content.
type pair struct {
	t     *testing.T
	rng   *rand.Rand
	key   []byte
	opts  envelope.FileOptions
	store *memory
	file  *envelope.File
	want  []byte
}

// newPair creates an empty file.
func newPair(t *testing.T, seed uint64) *pair {
	p := &pair{t: t, rng: rand.New(rand.NewPCG(seed, 0)), key: bytes.Repeat([]byte{7}, 32), store: &memory{}}
	vk, err := envelope.NewVolumeKey(bytes.Repeat([]byte{8}, 32))
	p.must(err)
	vol, err := envelope.NewVolume(envelope.VolumeID{1}, vk)
	p.must(err)
	t.Cleanup(vol.Wipe)
	dk, err := envelope.NewDataKey(p.key)
	p.must(err)
	area, err := vol.SealSlots(envelope.FileID{2}, envelope.SlotTable{Slots: []envelope.Slot{{Kind: envelope.SlotPath, Wrapped: make([]byte, 184)}}})
	p.must(err)
	p.opts = envelope.FileOptions{Store: p.store, Key: dk, Stat: vol, MountID: 1, Workers: 2}
	p.file, err = envelope.CreateFile(p.opts, envelope.VolumeID{1}, envelope.FileID{2}, area, uint16(seed%2))
	p.must(err)
	t.Cleanup(func() { p.file.Wipe() })
	return p
}

func (p *pair) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// write writes n random bytes at off.
func (p *pair) write(off, n int) {
	b := make([]byte, n)
	dense := 1 + p.rng.IntN(4) // so that some of it compresses
	for i := 0; i < n; i += dense {
		b[i] = byte(p.rng.Uint32())
	}
	_, err := p.file.WriteAt(b, int64(off))
	p.must(err)
	if off+n > len(p.want) {
		p.want = append(p.want, make([]byte, off+n-len(p.want))...)
	}
	copy(p.want[off:], b)
}

// truncate sets the size.
func (p *pair) truncate(size int) {
	p.must(p.file.Truncate(int64(size)))
	p.want = append(p.want[:min(size, len(p.want))], make([]byte, max(0, size-len(p.want)))...)
}

// step changes the file at random, within max bytes.
func (p *pair) step(maxSize int) {
	off := p.rng.IntN(maxSize)
	n := min(1<<p.rng.IntN(18), maxSize-off)
	switch p.rng.IntN(8) {
	case 0:
		p.truncate(p.rng.IntN(maxSize))
	case 1:
		p.must(p.file.Punch(int64(off), int64(n)))
		if off < len(p.want) {
			clear(p.want[off:min(off+n, len(p.want))])
		}
	case 2:
		p.must(p.file.Sync())
	default:
		p.write(off, n)
	}
}

// check commits and reads the image with the second reader.
func (p *pair) check() {
	p.t.Helper()
	p.must(p.file.Commit())
	for _, settled := range []bool{true, false} {
		f, err := openFile(p.store.b, p.key, settled)
		p.must(err)
		got, err := f.content()
		p.must(err)
		if !bytes.Equal(got, p.want) {
			p.t.Fatalf("settled %v: %d bytes read, %d written, or they differ", settled, len(got), len(p.want))
		}
	}
}

func TestSecondReaderReadsWhatTheEngineWrites(t *testing.T) {
	for seed := range uint64(12) {
		maxSize := 1 << (8 + seed) // inline, root entries, one and two levels of tag pages
		t.Run(fmt.Sprintf("seed %d up to %d bytes", seed, maxSize), func(t *testing.T) {
			p := newPair(t, seed)
			p.check()
			for range 12 {
				for range 4 {
					p.step(maxSize)
				}
				p.check()
			}
		})
	}
}

func TestSecondReaderReadsATallTree(t *testing.T) {
	p := newPair(t, 99)
	const far = 64 * 112 * 4096 // beyond what one level of tag pages covers
	p.write(far+5000, 10000)
	p.write(100, 5000)
	p.check()
	if f, err := openFile(p.store.b, p.key, true); err != nil || f.height != 2 {
		t.Errorf("height %d, want 2: %v", f.height, err)
	}
}

func TestSecondReaderNoticesWhatTheEngineNotices(t *testing.T) {
	p := newPair(t, 5)
	p.write(0, 200*4096)
	p.check()
	for range 200 {
		image := bytes.Clone(p.store.b)
		image[p.rng.IntN(len(image))] ^= byte(1 + p.rng.IntN(255))
		mine, mineErr := p.readBack(image)
		f, err := openFile(image, p.key, true)
		var got []byte
		if err == nil {
			got, err = f.content()
		}
		if (err == nil) != (mineErr == nil) || !bytes.Equal(got, mine) {
			t.Errorf("second reader: %v; engine: %v", err, mineErr)
		}
	}
}

// readBack reads an image with the engine.
func (p *pair) readBack(image []byte) ([]byte, error) {
	o := p.opts
	o.Store = &memory{b: image}
	roots, err := envelope.ReadRoots(o.Store)
	if err != nil {
		return nil, err
	}
	f, err := envelope.OpenFile(o, roots, envelope.Trust{Settled: true})
	if err != nil {
		return nil, err
	}
	defer f.Wipe()
	b := make([]byte, f.Size())
	if _, err = f.ReadAt(b, 0); err != nil {
		return nil, err
	}
	return b, nil
}
