package fs

import (
	"context"
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// Rename implements fuse.RawFileSystem. The key of a file is wrapped for the new path before the
// rename and the old wrapping dropped after it, so that a crash leaves the file readable under
// whichever name it then has. No device flush is needed. Directories go through the rename log.
func (s *fileSystem) Rename(cancel <-chan struct{}, input *fuse.RenameIn, oldName, newName string) fuse.Status {
	defer s.changes.Add(1)
	a, b := s.tree.get(input.NodeId), s.tree.get(input.Newdir)
	if a == nil || b == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if input.Flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return fuse.EINVAL
	}
	return status(s.rename(request(cancel), a, oldName, b, newName, uint(input.Flags)))
}

// move is one rename while it is being made.
type move struct {
	s        *fileSystem
	from, to place
	fd, td   *dirHandle // directories of from and to
	flags    uint
	src, dst *inode // dst is nil when nothing is at to
	dstLast  *ghost // what is left of dst when the rename takes its last name
	seq      uint64 // new rename log sequence, 0 when no directory moves

	fromNote, toNote *nameNote  // the same when the directory is
	gone             remembered // what dst was, when it is replaced
}

func (s *fileSystem) rename(ctx context.Context, a *inode, oldName string, b *inode, newName string, flags uint) error {
	defer s.wraps.enter()()
	m := &move{s: s, flags: flags}
	var err error
	if m.from, err = s.place(a, oldName); err != nil {
		return err
	}
	if m.fd, err = s.dir(a); err != nil {
		return err
	}
	defer s.dirs.release(m.fd)
	var long string
	if m.to, m.td, long, err = s.newPlace(b, newName); err != nil {
		return err
	}
	defer s.dirs.release(m.td)
	endNotes, err := m.note()
	if err == nil {
		defer endNotes()
		err = m.run(ctx)
	}
	if err != nil {
		s.dropLongName(m.td, m.to, long)
		return err
	}
	if !m.exchange() {
		s.dropLong(m.fd, m.from)
	}
	return nil
}

func (m *move) exchange() bool { return m.flags&unix.RENAME_EXCHANGE != 0 }

// run finds the two objects and moves them.
func (m *move) run(ctx context.Context) error {
	var err error
	if m.src, err = m.s.inodeAt(m.fd, m.from); err != nil {
		return err
	}
	defer m.s.tree.forget(m.src.id, 1)
	m.dst, err = m.s.inodeAt(m.td, m.to)
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		return err
	}
	if m.dst != nil {
		defer m.s.tree.forget(m.dst.id, 1)
	}
	if err := m.check(); err != nil {
		return err
	}
	if err := m.checkMoving(); err != nil {
		return err
	}
	return m.byKind(ctx)
}

// inodeAt looks up what is at p; the caller gives the reference back.
func (s *fileSystem) inodeAt(d *dirHandle, p place) (*inode, error) {
	var out fuse.EntryOut
	return s.enter(d, p, &out)
}

// check refuses what the store would refuse, before anything is staged or logged.
func (m *move) check() error {
	switch {
	case m.dst == nil && m.exchange():
		return syscall.ENOENT
	case m.dst == nil:
		return nil
	case m.flags&unix.RENAME_NOREPLACE != 0:
		return syscall.EEXIST
	case m.exchange():
		if m.src.kind == unix.S_IFLNK || m.dst.kind == unix.S_IFLNK {
			return syscall.EINVAL // a symbolic link is bound to its place and cannot be exchanged atomically
		}
		return nil
	case m.src.isDir() && !m.dst.isDir():
		return syscall.ENOTDIR
	case !m.src.isDir() && m.dst.isDir():
		return syscall.EISDIR
	}
	return nil
}

// byKind stages what the objects need, renames, and finishes or takes back what was staged.
func (m *move) byKind(ctx context.Context) error {
	if m.src.kind == unix.S_IFLNK {
		return m.moveSymlink()
	}
	if m.movesDir() {
		m.s.renames.mu.Lock()
		defer m.s.renames.mu.Unlock()
		if err := m.s.payOwed(); err != nil {
			return err
		}
	}
	var undo []func()
	err := m.stageAll(ctx, &undo)
	if err == nil {
		err = m.swap()
	}
	if err != nil {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
		return err
	}
	m.done()
	return nil
}

func (m *move) movesDir() bool { return m.src.isDir() || m.exchange() && m.dst.isDir() }

func (m *move) stageAll(ctx context.Context, undo *[]func()) error {
	if err := m.stageOne(ctx, m.src, m.fd, m.from, m.to, undo); err != nil {
		return err
	}
	if m.exchange() {
		if err := m.stageOne(ctx, m.dst, m.td, m.to, m.from, undo); err != nil {
			return err
		}
	}
	return m.logDirs(undo)
}

func (m *move) stageOne(ctx context.Context, in *inode, d *dirHandle, from, to place, undo *[]func()) error {
	switch {
	case in.isRegular():
		back, err := m.s.stageSlot(ctx, in, d, from, to)
		if err == nil {
			*undo = append(*undo, back)
		}
		return err
	case in.isDir():
		back, err := m.s.stageDir(in, to)
		if err == nil {
			*undo = append(*undo, back)
		}
		return err
	}
	return nil
}

// swap makes the rename in the store.
func (m *move) swap() error {
	if m.dst != nil && !m.exchange() {
		m.dstLast = m.lastName()
	}
	if m.dst != nil && m.dst.isDir() && !m.exchange() {
		return m.overDir()
	}
	return m.renameStore()
}

// renameStore changes the names in the store and in memory as one step.
func (m *move) renameStore() error {
	m.s.names.Lock()
	defer m.s.names.Unlock()
	if err := m.fd.Rename(m.from.store, m.td.Dir, m.to.store, m.flags); err != nil {
		m.dstLast.close()
		return err
	}
	m.s.tree.move(m.from, m.to, m.exchange(), m.seq)
	if m.dstLast != nil {
		m.s.tree.replaced(m.dst, m.dstLast)
	}
	m.noteMoved()
	return nil
}

// lastName returns what will be left of dst when the name at to is its last.
func (m *move) lastName() *ghost {
	var st unix.Stat_t
	if m.dst == nil || m.td.Stat(m.to.store, &st) != nil {
		return nil
	}
	m.gone = m.s.remember(m.dst, m.td, m.to, &st)
	if !m.dst.isDir() && st.Nlink > 1 {
		return nil
	}
	return m.s.newGhost(m.td, m.to, &st)
}

// done settles what was staged, after the rename.
func (m *move) done() {
	for _, in := range []*inode{m.src, m.dst} {
		if in == nil || in == m.dst && !m.exchange() {
			continue
		}
		if in.isDir() {
			m.s.finishStagedDir(in)
		}
		if in.isRegular() {
			m.s.folds.put(in, true)
		}
	}
	if m.dst != nil && !m.exchange() && m.dstLast == nil && m.dst.isRegular() {
		m.s.dropSlotOf(m.dst, m.to)
	}
}

// stageSlot wraps a file's key for the path to, beside the present one, and returns what takes that
// back.
func (s *fileSystem) stageSlot(ctx context.Context, in *inode, d *dirHandle, from, to place) (undo func(), err error) {
	slot, old, err := s.wrapFor(ctx, in, d, from, to)
	if err != nil {
		return nil, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := s.loadSlots(in, d.Dir, from.store); err != nil {
		return nil, err // a last close may have dropped them since wrapFor
	}
	t := s.makeRoom(in, d.Dir, from.store, idOf(&slot))
	path, seq := s.tree.path(from.dir, from.name)
	for i := range t.Slots { // that one may have been wrapped anew since wrapFor
		t.Slots[i].Dropping = t.Slots[i].Dropping || idOf(&t.Slots[i]) == old || s.serves(&t.Slots[i], []string{path}, seq)
	}
	t.Slots = append(t.Slots, slot)
	if err := s.stage(in, d.Dir, from.store, t); err != nil {
		return nil, err
	}
	s.folds.add(in)
	return func() { s.unstageSlot(in, d, from, idOf(&slot), old) }, nil
}

// unstageSlot takes stageSlot back.
func (s *fileSystem) unstageSlot(in *inode, d *dirHandle, from place, added, kept slotID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	err := s.loadSlots(in, d.Dir, from.store)
	t := keepSlots(in.file.slots, func(sl *envelope.Slot) bool { return idOf(sl) != added })
	for i := range t.Slots {
		if idOf(&t.Slots[i]) == kept {
			t.Slots[i].Dropping = false
		}
	}
	if err == nil {
		err = s.stage(in, d.Dir, from.store, t)
	}
	if err != nil {
		s.log.Warn("key slot of a failed rename left behind", "file", in.file.id.String(), "err", err)
	}
}

// wrapFor asks the key service to wrap a file's key for another path. old is the slot that serves the
// present one. No lock is held meanwhile.
func (s *fileSystem) wrapFor(ctx context.Context, in *inode, d *dirHandle, from, to place) (slot envelope.Slot, old slotID, err error) {
	in.mu.Lock()
	err = s.loadSlots(in, d.Dir, from.store)
	t := in.file.slots
	in.mu.Unlock()
	if neverWritten(err) && !s.vol.ro {
		if err = s.renew(ctx, in); err == nil {
			return s.wrapFor(ctx, in, d, from, to)
		}
	}
	if err != nil {
		return slot, old, err
	}
	path, newPath, seq := s.tree.pathPair(from, to)
	serving, at := s.match(&t, []string{path}, seq)
	if serving == nil {
		return slot, old, s.misplaced(in, []string{path})
	}
	slot, err = s.vol.rewrap(ctx, serving, at, newPath, seq)
	return slot, idOf(serving), err
}
