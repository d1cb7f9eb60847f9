package envelope

import (
	"bytes"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"sync"
	"testing"
)

// lockedStore is a memStore for several goroutines.
type lockedStore struct {
	mu sync.RWMutex
	memStore
}

func (s *lockedStore) ReadAt(p []byte, off int64) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.memStore.ReadAt(p, off)
}

func (s *lockedStore) WriteAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memStore.WriteAt(p, off)
}

func (s *lockedStore) Truncate(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memStore.Truncate(n)
}

func (s *lockedStore) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memStore.Sync()
}

// Each writer owns a stripe and checks that it reads back what it wrote, while others read, commit
// and sync.
func TestConcurrentUseKeepsEveryWrite(t *testing.T) {
	for name, flags := range map[string]uint16{"raw": 0, "compressed": FlagCompress} {
		t.Run(name, func(t *testing.T) { useConcurrently(t, flags) })
	}
}

func useConcurrently(t *testing.T, flags uint16) {
	const stripe, rounds = 200_000, 30
	s := &lockedStore{}
	o := optionsFor(t, s)
	o.limits = limits{dirtyBlocks: 30, dirtyNodes: 4, epochMessages: 500}
	f, err := CreateFile(o, VolumeID{1}, FileID{2}, nil, flags)
	must(t, err)
	var writers, others sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		writers.Go(func() {
			for i := range rounds {
				p, got := pattern(byte(w*rounds+i), stripe-i*1000), make([]byte, stripe)
				if _, err := f.WriteAt(p, int64(w*stripe)); err != nil {
					t.Error(err)
					return
				}
				n, err := f.ReadAt(got[:len(p)], int64(w*stripe))
				if err != nil || !bytes.Equal(got[:n], p) {
					t.Errorf("writer %d reads back something else: %v", w, err)
					return
				}
			}
		})
	}
	for _, do := range []func() error{f.Commit, f.Sync, func() error { return f.Verify(nil) }, func() error {
		_, err := f.ReadAt(make([]byte, 100), mathrand.Int64N(3*stripe)) // of whatever is written just now
		return err
	}, func() error {
		_, err := f.SeekHole(f.Size() / 2)
		if KindOf(err) == KindNoData {
			err = nil
		}
		return err
	}} {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := do(); err != nil && !errors.Is(err, io.EOF) {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	others.Wait()
	must(t, f.Sync())
	f.Wipe()
	g, err := openTestFile(t, s)
	must(t, err)
	must(t, g.Verify(nil))
	got := make([]byte, stripe-(rounds-1)*1000)
	for w := range 3 {
		_, err := g.ReadAt(got, int64(w*stripe))
		must(t, err)
		if !bytes.Equal(got, pattern(byte(w*rounds+rounds-1), len(got))) {
			t.Errorf("stripe %d differs after reopening", w)
		}
	}
}

func TestReadsAndWritesGoOnDuringAFlush(t *testing.T) {
	s := &lockedStore{}
	entered, leave := make(chan struct{}), make(chan struct{})
	f, err := CreateFile(optionsFor(t, s), VolumeID{1}, FileID{2}, nil, 0)
	must(t, err)
	p := pattern(1, 500_000)
	_, err = f.WriteAt(p, 0)
	must(t, err)
	slow := &slowSync{Store: s, entered: entered, leave: leave}
	f.store = slow
	done := make(chan error)
	go func() { done <- f.Sync() }()
	<-entered
	q := pattern(2, 500_000)
	_, err = f.WriteAt(q, 0)
	must(t, err)
	wantContent(t, f, q)
	close(leave)
	must(t, <-done)
	f.Wipe() // the second write was never committed
	g, err := openTestFile(t, s)
	must(t, err)
	wantContent(t, g, p)
}

// slowSync is a store whose Sync waits.
type slowSync struct {
	Store
	entered, leave chan struct{}
}

func (s *slowSync) Sync() error {
	close(s.entered)
	<-s.leave
	return s.Store.Sync()
}
