package fs

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/envelope"
)

// What inode.xattrs says of the user's extended attributes.
const (
	xattrUnknown = 0
	xattrNone    = 1
	xattrSome    = 2
)

// maxXattr bounds a stored value; the kernel's limit is 64 KiB.
const maxXattr = 64 << 10

// userXattr reports whether an attribute is one that a volume stores: the user namespace. Its
// values are sealed and its names encrypted under the volume key.
func userXattr(attr string) bool { return strings.HasPrefix(attr, "user.") }

// xattrTarget is an object of the store whose extended attributes are used: by its name, or by its
// open file when its last name is gone.
type xattrTarget interface {
	GetXattr(attr string, buf []byte) (int, error)
	SetXattr(attr string, value []byte, flags int) error
	RemoveXattr(attr string) error
	ListXattr() ([]string, error)
}

func (n named) GetXattr(attr string, buf []byte) (int, error) { return n.d.GetXattr(n.name, attr, buf) }
func (n named) RemoveXattr(attr string) error                 { return n.d.RemoveXattr(n.name, attr) }
func (n named) ListXattr() ([]string, error)                  { return n.d.ListXattr(n.name) }
func (n named) SetXattr(attr string, value []byte, flags int) error {
	return n.d.SetXattr(n.name, attr, value, flags)
}

// object stands for an inode in the store, together with the identity its attributes are bound to.
type object struct {
	xattrTarget
	id   [16]byte
	done func()
}

// object resolves an inode for an attribute operation; call o.done afterwards.
func (s *fileSystem) object(ctx context.Context, nodeid uint64) (*inode, object, error) {
	in := s.tree.get(nodeid)
	if in == nil {
		return nil, object{}, syscall.ESTALE
	}
	p, d, done, err := s.locate(in)
	if errors.Is(err, syscall.ESTALE) {
		return s.nameless(in)
	}
	if err != nil {
		return nil, object{}, err
	}
	id, err := s.identity(in, d, p)
	if err != nil {
		done()
		if neverWritten(err) && !s.vol.ro {
			if err = s.renew(ctx, in); err == nil {
				return s.object(ctx, nodeid)
			}
		}
		return nil, object{}, err
	}
	return in, object{named{d, p.store}, id, done}, nil
}

// nameless is object for a file in use whose last name is gone.
func (s *fileSystem) nameless(in *inode) (*inode, object, error) {
	in.mu.Lock()
	id := in.file.id
	in.mu.Unlock()
	of, done := in.borrow()
	if of == nil {
		return nil, object{}, syscall.ESTALE
	}
	return in, object{of.store, id, done}, nil
}

// identity is a directory's or file's id; other objects carry no attributes of the user's.
func (s *fileSystem) identity(in *inode, d *dirHandle, p place) ([16]byte, error) {
	switch {
	case in.isDir():
		return in.dirID, nil
	case in.isRegular():
		in.mu.Lock()
		defer in.mu.Unlock()
		return s.fileID(in, d, p.store)
	}
	return [16]byte{}, syscall.EPERM
}

// fileID reads a file's id from its header when it is not known; in.mu is held.
func (s *fileSystem) fileID(in *inode, d *dirHandle, name string) ([16]byte, error) {
	if in.file.id == (envelope.FileID{}) {
		f, err := d.Open(name, true)
		if err != nil {
			return [16]byte{}, err
		}
		defer f.Close()
		roots, err := s.vol.readRoots(f)
		if err != nil {
			return [16]byte{}, err
		}
		in.file.id = roots.Newest().FileID
	}
	return in.file.id, nil
}

// noXattrs answers, without a system call, for an object known to have none.
func (s *fileSystem) noXattrs(nodeid uint64) bool {
	in := s.tree.get(nodeid)
	return in != nil && in.xattrs.Load() == xattrNone
}

// GetXAttr implements fuse.RawFileSystem.
func (s *fileSystem) GetXAttr(cancel <-chan struct{}, header *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	if in := s.compressOfFile(header.NodeId, attr); in != nil {
		on, err := s.fileCompresses(in)
		if err != nil {
			return 0, status(err)
		}
		return fit([]byte(compressValue(on)), dest)
	}
	if !userXattr(attr) || s.noXattrs(header.NodeId) {
		return 0, fuse.ENODATA
	}
	_, o, err := s.object(request(cancel), header.NodeId)
	if err != nil {
		return 0, status(err)
	}
	defer o.done()
	buf := make([]byte, maxXattr+256)
	n, err := o.GetXattr(s.storeXattr(attr), buf)
	if err != nil {
		return 0, status(err)
	}
	value, err := s.vol.crypto.OpenXattr(o.id, attr, buf[:n])
	if err != nil {
		return 0, status(err)
	}
	return fit(value, dest)
}

// fit copies an attribute's value as getxattr(2) does: a too short buffer is told the size.
func fit(value, dest []byte) (uint32, fuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

// storeXattr is the attribute's name in the store.
func (s *fileSystem) storeXattr(attr string) string {
	return xattrPrefix + s.vol.crypto.EncryptXattrName(attr)
}

// SetXAttr implements fuse.RawFileSystem.
func (s *fileSystem) SetXAttr(cancel <-chan struct{}, input *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	defer s.changes.Add(1)
	if !userXattr(attr) {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	if attr == compressAttr {
		return status(s.setCompressAttr(request(cancel), input, data))
	}
	return status(s.setXattr(request(cancel), input.NodeId, attr, data, int(input.Flags)))
}

// setXattr seals and stores an attribute.
func (s *fileSystem) setXattr(ctx context.Context, nodeid uint64, attr string, data []byte, flags int) error {
	in, o, err := s.object(ctx, nodeid)
	if err != nil {
		return err
	}
	defer o.done()
	in.xattrs.Store(xattrSome)
	sealed := s.vol.crypto.SealXattr(o.id, attr, data)
	return o.SetXattr(s.storeXattr(attr), sealed, flags)
}

// RemoveXAttr implements fuse.RawFileSystem.
func (s *fileSystem) RemoveXAttr(cancel <-chan struct{}, header *fuse.InHeader, attr string) fuse.Status {
	defer s.changes.Add(1)
	if !userXattr(attr) {
		return fuse.ENODATA
	}
	if in := s.compressOfFile(header.NodeId, attr); in != nil {
		return status(s.inheritCompress(request(cancel), in))
	}
	in, o, err := s.object(request(cancel), header.NodeId)
	if err != nil {
		return status(err)
	}
	defer o.done()
	err = o.RemoveXattr(s.storeXattr(attr))
	if err == nil && attr == compressAttr {
		in.compress.Store(compressInherit)
	}
	return status(err)
}

// ListXAttr implements fuse.RawFileSystem.
func (s *fileSystem) ListXAttr(cancel <-chan struct{}, header *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	if s.noXattrs(header.NodeId) {
		return 0, fuse.OK
	}
	in, o, err := s.object(request(cancel), header.NodeId)
	if err == syscall.EPERM {
		return 0, fuse.OK
	}
	if err != nil {
		return 0, status(err)
	}
	defer o.done()
	stored, err := o.ListXattr()
	if errors.Is(err, syscall.ENOTSUP) {
		return 0, fuse.OK
	}
	if err != nil {
		return 0, status(err)
	}
	var names bytes.Buffer
	for _, enc := range stored {
		s.appendName(&names, o, enc)
	}
	if names.Len() == 0 {
		in.xattrs.CompareAndSwap(xattrUnknown, xattrNone)
	}
	return fit(names.Bytes(), dest)
}

// appendName adds one plaintext name to a listing; what is not the user's is left out.
func (s *fileSystem) appendName(names *bytes.Buffer, o object, enc string) {
	enc, ours := strings.CutPrefix(enc, xattrPrefix)
	if !ours {
		return
	}
	name, err := s.vol.crypto.DecryptXattrName(enc)
	if err != nil {
		s.log.Warn("foreign extended attribute left out", "cause", err)
		return
	}
	names.WriteString(name)
	names.WriteByte(0)
}
