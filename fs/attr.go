package fs

import (
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// fillAttr translates what the store says; size and mtime of a regular file are put in by sizeOf.
func fillAttr(out *fuse.Attr, st *unix.Stat_t) {
	*out = fuse.Attr{
		Ino: st.Ino, Size: uint64(st.Size), Blocks: uint64(st.Blocks),
		Atime: uint64(st.Atim.Sec), Atimensec: uint32(st.Atim.Nsec),
		Mtime: uint64(st.Mtim.Sec), Mtimensec: uint32(st.Mtim.Nsec),
		Ctime: uint64(st.Ctim.Sec), Ctimensec: uint32(st.Ctim.Nsec),
		Mode: st.Mode, Nlink: uint32(st.Nlink), Rdev: uint32(st.Rdev), Blksize: envelope.PageSize,
	}
	out.Uid, out.Gid = st.Uid, st.Gid
}

// stat describes in as an application should see it.
func (s *fileSystem) stat(in *inode, out *fuse.Attr) error {
	if of, done := in.borrow(); of != nil {
		defer done()
		return statOpen(of, out)
	}
	p, d, done, err := s.locate(in)
	if g := s.tree.ghostOf(in); g != nil && errors.Is(err, syscall.ESTALE) {
		return s.statGhost(in, g, out)
	}
	if err != nil {
		return err
	}
	defer done()
	return s.statAt(in, d, p, out)
}

// locate returns a place of in and its open directory (for the root: itself and the empty name).
// The place stays valid until done is called.
func (s *fileSystem) locate(in *inode) (p place, d *dirHandle, done func(), err error) {
	s.names.RLock()
	p, ok := s.tree.where(in)
	switch {
	case ok:
		d, err = s.dir(p.dir)
	case in == s.tree.root:
		d, err = s.dir(in)
	default:
		err = syscall.ESTALE
	}
	if err != nil {
		s.names.RUnlock()
		return p, nil, nil, err
	}
	return p, d, func() { s.dirs.release(d); s.names.RUnlock() }, nil
}

func (s *fileSystem) statAt(in *inode, d *dirHandle, p place, out *fuse.Attr) error {
	var st unix.Stat_t
	if err := d.Stat(p.store, &st); err != nil {
		return err
	}
	if st.Ino != in.ino || st.Mode&unix.S_IFMT != in.kind {
		return syscall.ESTALE // replaced behind the mount's back: the kernel looks it up again
	}
	return s.complete(in, d.Dir, p, &st, out)
}

// complete fills out from st, with the plaintext size where that differs from the store's.
func (s *fileSystem) complete(in *inode, d *backing.Dir, p place, st *unix.Stat_t, out *fuse.Attr) error {
	fillAttr(out, st)
	switch in.kind {
	case unix.S_IFLNK:
		target, err := s.readlink(d, p)
		if err != nil {
			return err
		}
		out.Size = uint64(len(target))
	case unix.S_IFREG:
		if of, done := in.borrow(); of != nil {
			defer done()
			of.plainAttr(out)
			return nil
		}
		size, err := s.sizeOf(in, d, p.store)
		if err != nil {
			return err
		}
		out.Size = uint64(size)
	}
	return nil
}

// statOpen describes a file in use, also when its last name is gone.
func statOpen(of *openFile, out *fuse.Attr) error {
	var st unix.Stat_t
	if err := of.store.Stat(&st); err != nil {
		return err
	}
	fillAttr(out, &st)
	of.plainAttr(out)
	return nil
}

// plainAttr overrides what only the open file knows: its size and the time of its last change,
// which our own delayed writes must not move.
func (of *openFile) plainAttr(out *fuse.Attr) {
	out.Size = uint64(of.file.Size())
	mtime := of.mtime.Load()
	out.Mtime, out.Mtimensec = uint64(mtime.Sec), uint32(mtime.Nsec)
}

// sizeOf returns the plaintext size of a regular file without its key: from memory, from the hint
// in the store's attribute, or from the header.
func (s *fileSystem) sizeOf(in *inode, d *backing.Dir, name string) (int64, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.file.sizeKnown {
		return in.file.size, nil
	}
	if size, ok := s.sizes.get(in.ino); ok {
		in.file.size, in.file.sizeKnown = size, true
		return size, nil
	}
	size, err := s.hintedSize(in, d, name)
	if err != nil {
		size, err = s.headerSize(in, d, name)
	}
	if err != nil {
		return 0, err
	}
	in.file.size, in.file.sizeKnown = size, true
	return size, nil
}

// errNoHint says that the store holds no hint that can be believed.
var errNoHint = errors.New("no size hint")

func (s *fileSystem) hintedSize(in *inode, d *backing.Dir, name string) (int64, error) {
	var buf [256]byte
	n, err := d.GetXattr(name, hintAttr, buf[:])
	if err != nil {
		return 0, err
	}
	h, err := s.vol.crypto.OpenHint(buf[:n])
	if err != nil || !s.vol.believable(h.MountID) {
		return 0, errNoHint
	}
	in.file.hinted, in.file.proven = int64(h.Size), h.Durable
	return int64(h.Size), nil
}

// headerSize reads the size from the header's stat record, sealed under the volume key. A header
// that cannot be read shows as size 0: stat goes on working, open tells what is wrong.
func (s *fileSystem) headerSize(in *inode, d *backing.Dir, name string) (int64, error) {
	f, err := d.Open(name, true)
	if s.vol.ro && errors.Is(err, syscall.EACCES) {
		return 0, nil // closed to its owner, who cannot open it on this mount either
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	roots, err := envelope.ReadRoots(f)
	if err != nil {
		return 0, s.sizeUnknown(name, err)
	}
	h := roots.Newest()
	size, err := s.vol.crypto.OpenStat(h.FileID, h.Sequence, h.StatRecord[:])
	if err != nil {
		return 0, s.sizeUnknown(name, err)
	}
	return int64(size), nil
}

func (s *fileSystem) sizeUnknown(name string, err error) error {
	if errors.As(err, new(syscall.Errno)) {
		return err
	}
	s.log.Warn("file header unreadable, size shown as 0", "store-name", name, "err", err)
	return nil
}

// GetAttr implements fuse.RawFileSystem.
func (s *fileSystem) GetAttr(_ <-chan struct{}, input *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	in := s.tree.get(input.NodeId)
	if in == nil {
		return fuse.Status(syscall.ESTALE)
	}
	out.SetTimeout(s.timeout)
	return status(s.stat(in, &out.Attr))
}

// status translates an error for the kernel.
func status(err error) fuse.Status { return fuse.Status(errnoOf(err)) }
