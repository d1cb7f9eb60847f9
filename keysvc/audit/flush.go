package audit

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// flusher syncs a file to disk: soon after a write, or now, with concurrent
// callers of now sharing a sync.
type flusher struct {
	fileMu sync.RWMutex // held for reading during a sync; mu is not taken under it
	file   *os.File     // owned: closed when replaced and by close

	mu    sync.Mutex
	timer *time.Timer // armed while something waits to be synced soon
	err   error       // of the last sync; appends fail until one succeeds
	next  *syncRound  // the round that callers of now can still join
	busy  bool        // a sync is running
	shut  bool        // close has begun: arm no more timers
	done  sync.WaitGroup
}

// syncRound is one sync and those who wait for it.
type syncRound struct {
	finished chan struct{}
	err      error
}

func newFlusher(f *os.File) *flusher { return &flusher{file: f} }

// soon arranges for a sync within a second.
func (f *flusher) soon() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer != nil || f.shut {
		return
	}
	f.done.Add(1)
	f.timer = time.AfterFunc(syncDelay, f.tick)
}

func (f *flusher) tick() {
	defer f.done.Done()
	f.mu.Lock()
	f.timer = nil // before the sync: a write during it arms the next one
	f.mu.Unlock()
	err := f.sync()
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	if err != nil {
		f.soon()
	}
}

// failed returns the error of the last sync that failed, if none has succeeded
// since.
func (f *flusher) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// now returns once a sync that began after the call has ended. Whoever finds no
// sync running does the next one for all who have joined by then.
func (f *flusher) now(ctx context.Context) error {
	f.mu.Lock()
	if f.next == nil {
		f.next = &syncRound{finished: make(chan struct{})}
	}
	round := f.next
	if !f.busy {
		f.busy = true
		f.done.Add(1)
		go f.run()
	}
	f.mu.Unlock()
	select {
	case <-round.finished:
		return round.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run does rounds until nobody waits for one.
func (f *flusher) run() {
	defer f.done.Done()
	for {
		f.mu.Lock()
		round := f.next
		f.next = nil
		if round == nil {
			f.busy = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		round.err = f.sync()
		close(round.finished)
	}
}

func (f *flusher) sync() error {
	f.fileMu.RLock()
	defer f.fileMu.RUnlock()
	return os.NewSyscallError("fdatasync", unix.Fdatasync(int(f.file.Fd())))
}

// replace syncs and closes the file and goes on with another one.
func (f *flusher) replace(file *os.File) error {
	err := f.sync()
	f.fileMu.Lock()
	defer f.fileMu.Unlock()
	old := f.file
	f.file = file
	return errors.Join(err, old.Close())
}

// close syncs what is pending and closes the file. No more calls of soon and now
// may follow.
func (f *flusher) close() error {
	f.mu.Lock()
	if f.timer != nil && f.timer.Stop() {
		f.done.Done()
	}
	f.timer, f.shut = nil, true
	f.mu.Unlock()
	f.done.Wait()
	return errors.Join(f.sync(), f.file.Close())
}
