package envelope

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"testing"
)

// memStore is a plain store in memory.
type memStore struct {
	mu    sync.Mutex // of what writes change
	b     []byte
	syncs int
	wrote int // bytes
	reads atomic.Int64
	fail  func(op string) error // injected fault of "read", "write", "sync" or "truncate"; nil: none
}

func (m *memStore) fault(op string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(op)
}

func (m *memStore) ReadAt(p []byte, off int64) (int, error) {
	if err := m.fault("read"); err != nil {
		return 0, err
	}
	m.reads.Add(1)
	if off >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(p, m.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memStore) WriteAt(p []byte, off int64) (int, error) {
	if err := m.fault("write"); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.grow(int(off) + len(p))
	m.wrote += len(p)
	return copy(m.b[off:], p), nil
}

func (m *memStore) grow(n int) {
	if n > cap(m.b) {
		b := make([]byte, len(m.b), 2*n)
		copy(b, m.b)
		m.b = b
	}
	if n > len(m.b) {
		m.b = m.b[:n]
	}
}

func (m *memStore) Truncate(size int64) error {
	if err := m.fault("truncate"); err != nil {
		return err
	}
	if int(size) < len(m.b) {
		clear(m.b[size:])
		m.b = m.b[:size]
	}
	m.grow(int(size))
	return nil
}

func (m *memStore) Sync() error {
	if err := m.fault("sync"); err != nil {
		return err
	}
	m.syncs++
	return nil
}

func (m *memStore) Size() (int64, error) { return int64(len(m.b)), nil }

// pages returns the store's length in pages.
func (m *memStore) pages() int { return len(m.b) / PageSize }

func dataKeyOf(t testing.TB, fill byte) *DataKey {
	t.Helper()
	k, err := NewDataKey(bytes.Repeat([]byte{fill}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func optionsFor(t testing.TB, s Store) FileOptions {
	return FileOptions{Store: s, Key: dataKeyOf(t, 7), Stat: zeroStat{}, MountID: 1, Workers: 2}
}

// newTestFile creates an empty file with a slot area of 200 bytes.
func newTestFile(t testing.TB) (*File, *memStore) {
	t.Helper()
	s := &memStore{}
	f, err := CreateFile(optionsFor(t, s), VolumeID{1}, FileID{2}, make([]byte, 200), 0)
	must(t, err)
	t.Cleanup(f.Wipe)
	return f, s
}

// openTestFile opens the settled file in s, whose newest root is durable.
func openTestFile(t testing.TB, s Store) (*File, error) {
	t.Helper()
	r, err := ReadRoots(s)
	if err != nil {
		return nil, err
	}
	f, err := OpenFile(optionsFor(t, s), r, Trust{Settled: true, DurableSeq: r.Newest().Sequence})
	if err == nil {
		t.Cleanup(f.Wipe)
	}
	return f, err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pattern returns n bytes that differ from block to block and from seed to seed.
func pattern(seed byte, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*31+i>>8+i>>16) ^ seed
	}
	return p
}

// writeSynced writes p at 0 and syncs.
func writeSynced(t testing.TB, f *File, p []byte) {
	t.Helper()
	_, err := f.WriteAt(p, 0)
	must(t, err)
	must(t, f.Sync())
}

// wantContent fails the test unless the file holds exactly want.
func wantContent(t testing.TB, f *File, want []byte) {
	t.Helper()
	got := make([]byte, len(want)+1)
	n, err := f.ReadAt(got, 0)
	if err != nil || n != len(want) || f.Size() != int64(len(want)) || !bytes.Equal(got[:n], want) {
		t.Fatalf("read %d bytes of %d, size %d, error %v; equal: %v", n, len(want), f.Size(), err, bytes.Equal(got[:n], want))
	}
}
