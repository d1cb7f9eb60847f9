package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// Link implements fuse.RawFileSystem: a further name gets a key slot of its own.
func (s *fileSystem) Link(_ <-chan struct{}, input *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	in, dir := s.tree.get(input.Oldnodeid), s.tree.get(input.NodeId)
	if in == nil || dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return status(s.link(in, dir, name, out))
}

func (s *fileSystem) link(in, dir *inode, name string, out *fuse.EntryOut) error {
	if in.kind == unix.S_IFLNK {
		return syscall.EPERM // a symbolic link is bound to one place
	}
	from, ok := s.tree.where(in)
	if !ok {
		return syscall.ENOENT
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
	if err := s.linkAt(in, fd, from, td, to); err != nil {
		s.dropLongName(td, to, long)
		return err
	}
	_, err = s.enter(td, to, out)
	return err
}

// linkAt adds the slot, then the name; a name without slot could not be opened.
func (s *fileSystem) linkAt(in *inode, fd *dirHandle, from place, td *dirHandle, to place) error {
	if !in.isRegular() {
		return fd.Link(from.store, td.Dir, to.store)
	}
	var st unix.Stat_t
	if td.Stat(to.store, &st) == nil {
		return syscall.EEXIST
	}
	slot, kept, err := s.wrapFor(in, fd, from, to)
	if err != nil {
		return err
	}
	if err := s.addSlot(in, fd, from, slot); err != nil {
		return err
	}
	if err := fd.Link(from.store, td.Dir, to.store); err != nil {
		s.unstageSlot(in, fd, from, slot.Tag, kept)
		return err
	}
	return nil
}

func (s *fileSystem) addSlot(in *inode, d *dirHandle, p place, slot envelope.Slot) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	t := keepSlots(in.file.slots, func(sl *envelope.Slot) bool { return sl.Tag != slot.Tag && !sl.Dropping })
	if pathSlots(&t) >= maxLinks {
		return syscall.EMLINK
	}
	t.Slots = append(t.Slots, slot)
	if err := s.stage(in, d.Dir, p.store, in.file.id, t); err != nil {
		return err
	}
	in.file.slots = t
	s.folds.add(in)
	return nil
}

// Unlink implements fuse.RawFileSystem. It needs no file key; a file in use keeps its key until
// its last close.
func (s *fileSystem) Unlink(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	dir := s.tree.get(header.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return status(s.unlink(dir, name))
}

func (s *fileSystem) unlink(dir *inode, name string) error {
	p, err := s.place(dir, name)
	if err != nil {
		return err
	}
	d, err := s.dir(dir)
	if err != nil {
		return err
	}
	defer s.dirs.release(d)
	var st unix.Stat_t
	if err := d.Stat(p.store, &st); err != nil {
		return err
	}
	if err := d.Unlink(p.store); err != nil {
		return err
	}
	s.dropLong(d, p)
	in := s.tree.child(dir, name)
	if in != nil && in.isRegular() && st.Nlink > 1 {
		s.dropSlotOf(in, p)
	}
	s.tree.remove(p, st.Nlink <= 1)
	return nil
}

// dropSlotOf marks the slot of a name that a file no longer has; it is dropped in the background.
func (s *fileSystem) dropSlotOf(in *inode, p place) {
	path, _ := s.tree.path(p.dir, p.name)
	other, d, err := s.otherName(in, p)
	if err != nil {
		return // no other name is known: the slot fits no path and is harmless
	}
	defer s.dirs.release(d)
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := s.loadSlots(in, d.Dir, other.store); err != nil {
		return
	}
	t := envelope.SlotTable{Version: in.file.slots.Version, Slots: append([]envelope.Slot(nil), in.file.slots.Slots...)}
	if slot, _ := s.match(&t, []string{path}); slot != nil {
		slot.Dropping = true
		in.file.slots = t
		s.folds.put(in, true)
	}
}

// otherName returns a known name of in that is not p, and its open directory.
func (s *fileSystem) otherName(in *inode, p place) (place, *dirHandle, error) {
	s.tree.mu.RLock()
	var other place
	for _, q := range in.names {
		if q != p {
			other = q
		}
	}
	s.tree.mu.RUnlock()
	if other.dir == nil {
		return other, nil, syscall.ENOENT
	}
	d, err := s.dir(other.dir)
	return other, d, err
}

// Rmdir implements fuse.RawFileSystem.
func (s *fileSystem) Rmdir(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	dir := s.tree.get(header.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return status(s.rmdir(dir, name))
}

func (s *fileSystem) rmdir(dir *inode, name string) error {
	p, err := s.place(dir, name)
	if err != nil {
		return err
	}
	d, err := s.dir(dir)
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
	if err := s.clearIdentity(in); err != nil {
		return err
	}
	if err := d.Rmdir(p.store); err != nil {
		s.restoreIdentity(in, p)
		return err
	}
	s.dropLong(d, p)
	s.tree.remove(p, true)
	s.dirs.drop(in)
	return nil
}
