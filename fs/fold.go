package fs

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// foldQueue holds the files whose newest key slots stand in the store's attribute only. They are
// folded into the headers at unmount, behind one flush for all of them, so that a copy of the
// store made without attributes has everything.
type foldQueue struct {
	tree *tree

	mu     sync.Mutex      // before tree.mu
	staged map[*inode]bool // pinned; the value says that a slot still has to be dropped
}

// foldLimit bounds the queue: beyond it the files are folded while mounted.
const foldLimit = 8192

// add queues a file; in stays in memory until it is folded.
func (q *foldQueue) add(in *inode) { q.put(in, false) }

func (q *foldQueue) put(in *inode, dropping bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.staged == nil {
		q.staged = make(map[*inode]bool)
	}
	if _, queued := q.staged[in]; !queued {
		q.tree.pin(in)
	}
	q.staged[in] = q.staged[in] || dropping
}

// take empties the queue; the caller unpins what it is done with.
func (q *foldQueue) take() map[*inode]bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.staged
	q.staged = nil
	return out
}

func (q *foldQueue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.staged)
}

// queued reports whether in waits to be folded.
func (q *foldQueue) queued(in *inode) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, ok := q.staged[in]
	return ok
}

// takeDropping returns the files whose old slots wait to be dropped.
func (q *foldQueue) takeDropping() []*inode {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []*inode
	for in, dropping := range q.staged {
		if dropping {
			q.staged[in] = false
			out = append(out, in)
		}
	}
	slices.SortFunc(out, olderInode)
	return out
}

// tidy drops the slots that finished renames have left behind, and folds when the queue is long.
func (q *foldQueue) tidy(s *fileSystem) {
	for _, in := range q.takeDropping() {
		if err := s.dropOldSlots(in); err != nil {
			s.log.Warn("old key slot not dropped yet", "file", in.file.id.String(), "err", err)
		}
	}
	if q.len() > foldLimit {
		if err := s.foldAll(); err != nil {
			s.log.Warn("key slots not folded yet", "err", err)
		}
	}
}

// dropOldSlots stages the table without the slots of the names that a file no longer has.
func (s *fileSystem) dropOldSlots(in *inode) error {
	p, d, done, err := s.locate(in)
	if err != nil {
		return lostName(err)
	}
	defer done()
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := s.loadSlots(in, d.Dir, p.store); err != nil {
		return err
	}
	t := keepSlots(in.file.slots, s.needed(in, d.Dir, p.store))
	if len(t.Slots) == len(in.file.slots.Slots) {
		return nil
	}
	return s.stage(in, d.Dir, p.store, t)
}

// lostName turns the error for an inode without a name into none: its slots went with it.
func lostName(err error) error {
	if errors.Is(err, syscall.ESTALE) {
		return nil
	}
	return err
}

// foldAll moves all staged key slots into their headers. The flush before makes every newest root
// durable, so that the other root page may be overwritten; the one after, the new headers.
func (s *fileSystem) foldAll() error {
	s.folding.Lock() // whoever comes second finds what the first could not fold
	defer s.folding.Unlock()
	staged := s.folds.take()
	if len(staged) == 0 {
		return nil
	}
	defer s.unpinAll(staged)
	before := stateOf(staged)
	if err := s.vol.root.SyncFS(); err != nil {
		s.requeue(staged)
		return err
	}
	var done []*inode
	for _, in := range slices.SortedFunc(maps.Keys(staged), olderInode) {
		err := s.fold(in, before[in])
		if errors.Is(err, errInUse) {
			s.folds.add(in)
			continue
		}
		if err != nil {
			s.log.Warn("key slots stay in the attribute", "file", in.file.id.String(), "err", err)
			s.folds.add(in)
			continue
		}
		done = append(done, in)
	}
	if err := s.vol.root.SyncFS(); err != nil {
		s.requeue(staged)
		return err
	}
	for _, in := range done {
		s.unstage(in)
	}
	return nil
}

// foldState is what a file was before a flush. What was closed since was written since, and its newest
// root may not be durable; what got another slot table since has names that may not be.
type foldState struct {
	closes  uint64
	version uint32
}

func stateOf(staged map[*inode]bool) map[*inode]foldState {
	out := make(map[*inode]foldState, len(staged))
	for in := range staged {
		in.mu.Lock()
		out[in] = in.file.foldState()
		in.mu.Unlock()
	}
	return out
}

func (f *fileState) foldState() foldState { return foldState{f.closes, f.slots.Version} }

func (s *fileSystem) unpinAll(staged map[*inode]bool) {
	for in := range staged {
		s.tree.unpin(in)
	}
}

func (s *fileSystem) requeue(staged map[*inode]bool) {
	for in, dropping := range staged {
		s.folds.put(in, dropping)
	}
}

// fold writes the slot table of one file into its header.
func (s *fileSystem) fold(in *inode, before foldState) error {
	p, d, done, err := s.locate(in)
	if err != nil {
		return lostName(err)
	}
	defer done()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.open.Load() != nil || in.file.foldState() != before {
		return errInUse
	}
	if err := s.loadSlots(in, d.Dir, p.store); err != nil {
		return err
	}
	t := keepSlots(in.file.slots, s.needed(in, d.Dir, p.store))
	area, err := s.vol.crypto.SealSlots(in.file.id, t)
	if err != nil {
		return err
	}
	if err := s.foldClosed(in, d, p.store, area); err != nil {
		return err
	}
	in.file.slots = t
	s.vol.ledger.Written(in.file.id, 0, t.Version)
	return nil
}

// errInUse leaves a file in use alone: a commit of it is not ordered after the changes of names that its
// slots belong to. A root page that reaches the device before them, without the slot of a name that is
// then still there, would cost the file.
var errInUse = errors.New("the file is in use")

func (s *fileSystem) foldClosed(in *inode, d *dirHandle, name string, area []byte) error {
	f, err := d.Open(name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := f.Stat(&st); err != nil {
		return err
	}
	if err := s.rewriteSlots(in, f, area); err != nil {
		return err
	}
	return f.Utimens(unix.Timespec{Nsec: unix.UTIME_OMIT}, st.Mtim)
}

// unstage removes the attribute of a file whose header is durable, unless it was staged again.
func (s *fileSystem) unstage(in *inode) {
	p, d, done, err := s.locate(in)
	if err != nil {
		return
	}
	defer done()
	in.mu.Lock()
	defer in.mu.Unlock()
	if s.folds.queued(in) {
		return
	}
	if err := d.RemoveXattr(p.store, slotsAttr); err == nil {
		in.file.staged = false
	}
}
