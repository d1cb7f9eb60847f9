package fs

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// Link implements fuse.RawFileSystem: a further name gets a key slot of its own.
func (s *fileSystem) Link(cancel <-chan struct{}, input *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	defer s.changes.Add(1)
	in, dir := s.tree.get(input.Oldnodeid), s.tree.get(input.NodeId)
	if in == nil || dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return status(s.link(request(cancel), in, dir, name, out))
}

func (s *fileSystem) link(ctx context.Context, in, dir *inode, name string, out *fuse.EntryOut) error {
	if in.kind == unix.S_IFLNK {
		return syscall.EPERM // a symbolic link is bound to one place
	}
	defer s.wraps.enter()()
	from, ok := s.tree.where(in)
	if !ok {
		return s.tree.nameless(in)
	}
	fd, err := s.dir(from.dir)
	if err != nil {
		return err
	}
	defer s.dirs.release(fd)
	to, td, long, err := s.newPlace(dir, name)
	if err != nil {
		return err
	}
	defer s.dirs.release(td)
	note, err := s.noteNames(dir, td)
	if err == nil {
		defer note.end()
		err = s.linkAt(ctx, in, fd, from, td, to)
	}
	if err != nil {
		s.dropLongName(td, to, long)
		return err
	}
	note.added(name, in.kind, "")
	_, err = s.enter(td, to, out)
	return err
}

// linkAt adds the slot, then the name; a name without slot could not be opened.
func (s *fileSystem) linkAt(ctx context.Context, in *inode, fd *dirHandle, from place, td *dirHandle, to place) error {
	if !in.isRegular() {
		return fd.Link(from.store, td.Dir, to.store)
	}
	var st unix.Stat_t
	if td.Stat(to.store, &st) == nil {
		return syscall.EEXIST
	}
	slot, kept, err := s.wrapFor(ctx, in, fd, from, to)
	if err != nil {
		return err
	}
	if err := s.addSlot(in, fd, from, slot); err != nil {
		return err
	}
	if err := fd.Link(from.store, td.Dir, to.store); err != nil {
		s.unstageSlot(in, fd, from, idOf(&slot), kept)
		return err
	}
	return nil
}

func (s *fileSystem) addSlot(in *inode, d *dirHandle, p place, slot envelope.Slot) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := s.loadSlots(in, d.Dir, p.store); err != nil {
		return err // a last close may have dropped them since wrapFor
	}
	t := s.makeRoom(in, d.Dir, p.store, idOf(&slot))
	if pathSlots(&t) >= maxLinks {
		return syscall.EMLINK
	}
	t.Slots = append(t.Slots, slot)
	if err := s.stage(in, d.Dir, p.store, t); err != nil {
		return err
	}
	s.folds.add(in)
	return nil
}

// Unlink implements fuse.RawFileSystem. It needs no file key; a file in use keeps its key until
// its last close.
func (s *fileSystem) Unlink(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	defer s.changes.Add(1)
	dir := s.tree.get(header.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return status(s.unlink(dir, name))
}

func (s *fileSystem) unlink(dir *inode, name string) error {
	p, d, err := s.placeIn(dir, name)
	if err != nil {
		return err
	}
	defer s.dirs.release(d)
	var st unix.Stat_t
	if err := d.Stat(p.store, &st); err != nil {
		return err
	}
	in := s.tree.child(dir, name)
	gone := s.remember(in, d, p, &st)
	var last *ghost
	if st.Nlink <= 1 {
		last = s.newGhost(d, p, &st)
	}
	note, err := s.noteNames(dir, d)
	if err != nil {
		last.close()
		return err
	}
	defer note.end()
	if err := s.removeName(p, last, func() error { return d.Unlink(p.store) }); err != nil {
		return err
	}
	note.removed(name, st.Mode, gone.target)
	s.forget(gone)
	s.dropLong(d, p)
	if in != nil && in.isRegular() && last == nil {
		s.dropSlotOf(in, p)
	}
	return nil
}

// removeName removes a name from the store and from memory as one step. last is what will be left
// of the object when it is its last name.
func (s *fileSystem) removeName(p place, last *ghost, remove func() error) error {
	s.names.Lock()
	defer s.names.Unlock()
	if err := remove(); err != nil {
		last.close()
		return err
	}
	s.tree.remove(p, last)
	return nil
}

// dropSlotOf marks the slot of a name that a file no longer has; it is dropped in the background.
func (s *fileSystem) dropSlotOf(in *inode, p place) {
	path, seq := s.tree.path(p.dir, p.name)
	other, d, done, err := s.locate(in)
	if err != nil {
		return // no other name is known: the slot fits no path and is harmless
	}
	defer done()
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := s.loadSlots(in, d.Dir, other.store); err != nil {
		return
	}
	t := envelope.SlotTable{Version: in.file.slots.Version, Slots: append([]envelope.Slot(nil), in.file.slots.Slots...)}
	if slot, _ := s.match(&t, []string{path}, seq); slot != nil {
		slot.Dropping = true
		in.file.slots = t
		s.folds.put(in, true)
	}
}

// Rmdir implements fuse.RawFileSystem.
func (s *fileSystem) Rmdir(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	defer s.changes.Add(1)
	dir := s.tree.get(header.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return status(s.rmdir(dir, name))
}

func (s *fileSystem) rmdir(dir *inode, name string) error {
	p, d, err := s.placeIn(dir, name)
	if err != nil {
		return err
	}
	defer s.dirs.release(d)
	in, err := s.inodeAt(d, p)
	if err != nil {
		return err
	}
	defer s.tree.forget(in.id, 1)
	if !in.isDir() {
		return syscall.ENOTDIR
	}
	var st unix.Stat_t
	if err := d.Stat(p.store, &st); err != nil {
		return err
	}
	note, err := s.noteNames(dir, d)
	if err != nil {
		return err
	}
	defer note.end()
	if err := s.settleOwed(); err != nil {
		return err
	}
	if err := s.clearIdentity(in); err != nil {
		return err
	}
	if err := s.removeName(p, s.newGhost(d, p, &st), func() error { return d.Rmdir(p.store) }); err != nil {
		s.restoreIdentity(in, p)
		return err
	}
	note.removed(name, unix.S_IFDIR, "")
	s.vol.ledger.Removed(in.dirID)
	s.dropLong(d, p)
	s.dirs.drop(in)
	return nil
}
