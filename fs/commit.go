package fs

import (
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// commitInterval bounds what a killed daemon loses of data that was not fsynced.
const commitInterval = time.Second

// commit writes what a file has changed to the store, without a device flush; in.mu is held.
func (s *fileSystem) commit(in *inode, of *openFile) error {
	if !of.dirty.Swap(false) && !of.file.Dirty() && (of.store.ReadOnly() || !of.file.Unsettled()) {
		return nil
	}
	if err := of.file.Commit(); err != nil {
		of.dirty.Store(true)
		return err
	}
	s.settle(in, of)
	return nil
}

// sync is commit and one device flush; in.mu is held.
func (s *fileSystem) sync(in *inode, of *openFile) error {
	changed := of.dirty.Swap(false) || of.file.Dirty()
	if err := of.file.Sync(); err != nil {
		if of.file.FlushFailed() {
			s.suspect.Store(true)
		}
		of.dirty.Store(true)
		return err
	}
	if changed {
		s.settle(in, of)
	}
	return nil
}

// settle brings the store's metadata in line after a commit: the size hint, and the time of the
// last change, which our own writing has moved; in.mu is held.
func (s *fileSystem) settle(in *inode, of *openFile) {
	size := of.file.Size()
	in.file.size, in.file.sizeKnown = size, true
	s.sizes.drop(in.ino)
	s.hint(in, of, size)
	if err := of.store.Utimens(unix.Timespec{Nsec: unix.UTIME_OMIT}, *of.mtime.Load()); err != nil {
		s.log.Warn("modification time not kept", "file", in.file.id.String(), "err", err)
	}
	s.noteWritten(in, of)
}

// hint keeps the store's copy of the size, and the word that a commit of the file is durable; in.mu is held.
func (s *fileSystem) hint(in *inode, of *openFile, size int64) {
	seq, durable := of.file.State()
	seal, proven := s.vol.crypto.SealHint, durable != 0
	if size == in.file.hinted && (in.file.proven || !proven) {
		return
	}
	if proven {
		seal = s.vol.crypto.SealDurableHint
	}
	if err := of.store.SetXattr(hintAttr, seal(in.file.id, seq, s.vol.mountID, uint64(size)), 0); err == nil {
		in.file.hinted, in.file.proven = size, proven
	}
}

// committer writes changed files in the background, so that a killed daemon loses at most
// commitInterval of what was written.
type committer struct {
	s *fileSystem

	mu   sync.Mutex
	open map[*inode]struct{} // files in use; leaf lock

	pause sync.Mutex // held while the kernel's own cache is being written out
	kicks chan chan struct{}
	stop  chan struct{}
	done  chan struct{}
}

func newCommitter(s *fileSystem) *committer {
	return &committer{s: s, open: make(map[*inode]struct{}), kicks: make(chan chan struct{}), stop: make(chan struct{}), done: make(chan struct{})}
}

func (c *committer) opened(in *inode) {
	c.mu.Lock()
	c.open[in] = struct{}{}
	c.mu.Unlock()
}

func (c *committer) closed(in *inode) {
	c.mu.Lock()
	delete(c.open, in)
	c.mu.Unlock()
}

// inUse returns the files whose keys are held, in the order in which they became known.
func (c *committer) inUse() []*inode {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Keys(c.open), olderInode)
}

// run commits until finish is called.
func (c *committer) run() {
	defer close(c.done)
	if c.s.mountpoint != "" {
		go c.writeout()
	}
	t := time.NewTicker(commitInterval)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
			c.round()
		}
	}
}

// round writes out what the kernel and this process hold back. The kernel comes first: what it sends
// is in the commits of the same round, else a killed daemon would lose what was written in two.
func (c *committer) round() {
	if c.s.writeback && c.writing() {
		c.kick()
	}
	for _, in := range c.inUse() {
		c.commitOne(in)
	}
	c.s.folds.tidy(c.s)
	c.s.tendLedger(time.Now())
}

// writing reports whether any file is open for writing.
func (c *committer) writing() bool {
	return slices.ContainsFunc(c.inUse(), func(in *inode) bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		of := in.open.Load()
		return of != nil && of.writers > 0
	})
}

// commitOne commits one file. A file that has no handle any more is one whose last commit failed: it
// is tried again.
func (c *committer) commitOne(in *inode) {
	in.mu.Lock()
	defer in.mu.Unlock()
	of := in.open.Load()
	if of == nil {
		return
	}
	if of.handles == 0 {
		c.s.lastClose(in, of)
		return
	}
	if err := c.s.commit(in, of); err != nil {
		c.s.log.Error("commit failed, will retry", "file", in.file.id.String(), "err", err)
	}
}

// finish stops the rounds and commits what is left; it returns the first error.
func (c *committer) finish() error {
	close(c.stop)
	<-c.done
	var firstErr error
	for _, in := range c.inUse() {
		in.mu.Lock()
		if of := in.open.Load(); of != nil {
			if err := c.s.commit(in, of); err != nil && firstErr == nil && !of.nameless() {
				firstErr = err
			}
			c.s.dropHeld(in, of)
		}
		in.mu.Unlock()
	}
	return firstErr
}
