package fs

import (
	"context"
	"encoding/binary"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// getExtendedFlags is FS_IOC_FSGETXATTR of linux/fs.h. Before the kernel passes on new flags it asks for
// these old ones; none of them is supported.
const getExtendedFlags = 0x801c581f

// compressFlag is FS_COMPR_FL of linux/fs.h: the flag c of chattr(1) and lsattr(1).
const compressFlag = 0x4

// Ioctl implements fuse.RawFileSystem for FS_IOC_GETFLAGS and FS_IOC_SETFLAGS, which are another way
// to see and to change what compressAttr says. The kernel checks that the caller is the owner.
func (s *fileSystem) Ioctl(cancel <-chan struct{}, input *fuse.IoctlIn, in []byte, _ *fuse.IoctlOut, out []byte) fuse.Status {
	switch input.Cmd {
	case unix.FS_IOC_GETFLAGS:
		return status(s.inodeFlags(input.NodeId, out))
	case unix.FS_IOC_SETFLAGS:
		return status(s.setInodeFlags(request(cancel), input.NodeId, in))
	case getExtendedFlags:
		clear(out)
		return fuse.OK
	}
	return fuse.Status(syscall.ENOTTY)
}

// inodeFlags encodes the flags of an object as an int, which is what the kernel passes whatever the
// number of the call says.
func (s *fileSystem) inodeFlags(nodeid uint64, out []byte) error {
	in := s.tree.get(nodeid)
	if in == nil {
		return syscall.ESTALE
	}
	if len(out) < 4 {
		return syscall.EINVAL
	}
	on, err := s.compresses(in)
	if err != nil {
		return err
	}
	clear(out)
	if on {
		binary.NativeEndian.PutUint32(out, compressFlag)
	}
	return nil
}

// compresses reports whether a file, or what is created in a directory, is compressed.
func (s *fileSystem) compresses(in *inode) (bool, error) {
	switch {
	case in.isRegular():
		return s.fileCompresses(in)
	case in.isDir():
		return s.compressesIn(in), nil
	}
	return false, syscall.ENOTTY
}

// setInodeFlags changes the flag of compression; no other can be set.
func (s *fileSystem) setInodeFlags(ctx context.Context, nodeid uint64, data []byte) error {
	defer s.changes.Add(1)
	in := s.tree.get(nodeid)
	if in == nil {
		return syscall.ESTALE
	}
	if len(data) < 4 {
		return syscall.EINVAL
	}
	flags := binary.NativeEndian.Uint32(data)
	if flags&^compressFlag != 0 {
		return syscall.EOPNOTSUPP
	}
	on := flags&compressFlag != 0
	now, err := s.compresses(in)
	if err != nil || on == now {
		return err
	}
	if in.isDir() {
		return s.setDirCompress(ctx, in, on, 0)
	}
	return s.setFileCompress(ctx, in, on)
}
