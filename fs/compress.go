package fs

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// compressAttr is the extended attribute that says whether files are compressed: "zstd" or "none".
//
// Of a directory it is an attribute like any other, sealed and bound to the directory, and holds for
// the files that are created in it and below it, except where a directory further down has one of its
// own; at the top stands the volume's option. It is looked up when a file is created, so moving or
// changing a directory changes nothing of the files that exist.
//
// Every regular file has it, and shows it in no listing: it is a flag in the file's header, which is
// authenticated. Setting it holds for what is written from then on.
const compressAttr = "user.kmsfs.compress"

// The values of compressAttr.
const (
	compressZstd = "zstd"
	compressNone = "none"
)

// What inode.compress says of a directory.
const (
	compressUnknown = 0 // the store was not asked yet
	compressInherit = 1 // it has no attribute
	compressYes     = 2
	compressNo      = 3
)

func compressValue(on bool) string {
	if on {
		return compressZstd
	}
	return compressNone
}

// parseCompress reads a value of compressAttr; EINVAL for an unknown one.
func parseCompress(value []byte) (on bool, err error) {
	switch string(value) {
	case compressZstd:
		return true, nil
	case compressNone:
		return false, nil
	}
	return false, syscall.EINVAL
}

// newFileFlags returns the header flags of a file that is created in dir.
func (s *fileSystem) newFileFlags(dir *inode) uint16 {
	if s.compressesIn(dir) {
		return envelope.FlagCompress
	}
	return 0
}

// compressesIn reports whether files created in dir are compressed: the next directory upwards that
// has a setting decides, else the volume.
func (s *fileSystem) compressesIn(dir *inode) bool {
	for dir != nil {
		if c := s.ownCompress(dir); c != compressInherit {
			return c == compressYes
		}
		p, _ := s.tree.where(dir)
		dir = p.dir
	}
	return s.vol.info.Compress
}

// ownCompress returns the setting of dir itself.
func (s *fileSystem) ownCompress(dir *inode) int32 {
	c := dir.compress.Load()
	if c != compressUnknown {
		return c
	}
	c, err := s.readCompress(dir)
	if err != nil {
		s.log.Warn("setting of compression unreadable, the one of the directory above is used", "inode", dir.ino, "err", err)
		return compressInherit
	}
	dir.compress.CompareAndSwap(compressUnknown, c) // it may have been set meanwhile
	return c
}

// readCompress reads the attribute of a directory.
func (s *fileSystem) readCompress(dir *inode) (int32, error) {
	d, err := s.dir(dir)
	if err != nil {
		return 0, err
	}
	defer s.dirs.release(d)
	var buf [256]byte
	n, err := d.GetXattr("", s.storeXattr(compressAttr), buf[:])
	if err == syscall.ENODATA || err == syscall.ENOTSUP {
		return compressInherit, nil
	}
	if err != nil {
		return 0, err
	}
	value, err := s.vol.crypto.OpenXattr(dir.dirID, compressAttr, buf[:n])
	if err != nil {
		return 0, err
	}
	on, err := parseCompress(value)
	if err != nil {
		return 0, err
	}
	return compressState(on), nil
}

func compressState(on bool) int32 {
	if on {
		return compressYes
	}
	return compressNo
}

// compressOfFile returns the regular file that a request for compressAttr concerns, nil for every
// other request.
func (s *fileSystem) compressOfFile(nodeid uint64, attr string) *inode {
	if attr != compressAttr {
		return nil
	}
	if in := s.tree.get(nodeid); in != nil && in.isRegular() {
		return in
	}
	return nil
}

// fileCompresses reports whether what is written to a file is compressed. Of a file that is not in
// use the header tells, without its key.
func (s *fileSystem) fileCompresses(in *inode) (bool, error) {
	if of, done := in.borrow(); of != nil {
		defer done()
		return of.file.Compresses(), nil
	}
	f, err := s.openStore(in, true)
	if err != nil {
		return false, err
	}
	defer f.Close()
	roots, err := s.vol.readRoots(f)
	if err != nil {
		return false, err
	}
	return roots.Newest().Flags&envelope.FlagCompress != 0, nil
}

// setCompressAttr is setxattr(2) of compressAttr.
func (s *fileSystem) setCompressAttr(ctx context.Context, input *fuse.SetXAttrIn, data []byte) error {
	on, err := parseCompress(data)
	if err != nil {
		return err
	}
	in := s.tree.get(input.NodeId)
	switch {
	case in == nil:
		return syscall.ESTALE
	case in.isRegular() && input.Flags&unix.XATTR_CREATE != 0:
		return syscall.EEXIST
	case in.isRegular():
		return s.setFileCompress(ctx, in, on)
	case !in.isDir():
		return syscall.EPERM
	}
	return s.setDirCompress(ctx, in, on, int(input.Flags))
}

// setDirCompress stores the setting of a directory.
func (s *fileSystem) setDirCompress(ctx context.Context, dir *inode, on bool, flags int) error {
	err := s.setXattr(ctx, dir.id, compressAttr, []byte(compressValue(on)), flags)
	if err == nil {
		dir.compress.Store(compressState(on))
	}
	return err
}

// setFileCompress changes the flag of a file. One that is not in use is opened for it: the key service
// is asked.
func (s *fileSystem) setFileCompress(ctx context.Context, in *inode, on bool) error {
	if s.vol.ro {
		return syscall.EROFS
	}
	if err := s.use(ctx, in); err != nil {
		return err
	}
	defer s.release(in, true)
	of := in.open.Load()
	if err := of.file.SetCompress(on); err != nil {
		return err
	}
	s.wrote(of, false)
	return nil
}

// inheritCompress gives a file the setting of the directory that it is in.
func (s *fileSystem) inheritCompress(ctx context.Context, in *inode) error {
	p, ok := s.tree.where(in)
	if !ok {
		return syscall.ENODATA
	}
	return s.setFileCompress(ctx, in, s.compressesIn(p.dir))
}
