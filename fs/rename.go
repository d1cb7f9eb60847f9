package fs

import (
	"context"
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
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
	if m.from, m.fd, err = s.placeIn(a, oldName); err != nil {
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
	var undo []func()
	err := m.stageFiles(ctx, &undo)
	if m.movesDir() {
		m.s.renames.mu.Lock()
		defer m.s.renames.mu.Unlock()
		if err == nil {
			err = m.s.payOwed()
		}
	}
	if err == nil {
		err = m.stageDirs(&undo)
	}
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

// moving is one of the objects that a move takes to another place.
type moving struct {
	in       *inode
	d        *dirHandle // of from
	from, to place
}

func (m *move) objects() []moving {
	all := []moving{{m.src, m.fd, m.from, m.to}}
	if m.exchange() {
		all = append(all, moving{m.dst, m.td, m.to, m.from})
	}
	return all
}

// stageFiles asks the key service, so renames.mu is not held.
func (m *move) stageFiles(ctx context.Context, undo *[]func()) error {
	for _, o := range m.objects() {
		if !o.in.isRegular() {
			continue
		}
		back, err := m.s.stageSlot(ctx, o.in, o.d, o.from, o.to)
		if err != nil {
			return err
		}
		*undo = append(*undo, back)
	}
	return nil
}

// stageDirs stages directories and logs that they move; renames.mu is held when there are any.
func (m *move) stageDirs(undo *[]func()) error {
	for _, o := range m.objects() {
		if !o.in.isDir() {
			continue
		}
		back, err := m.s.stageDir(o.in, o.to)
		if err != nil {
			return err
		}
		*undo = append(*undo, back)
	}
	return m.logDirs(undo)
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
