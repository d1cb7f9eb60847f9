package fs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// SetAttr implements fuse.RawFileSystem. Only a new size needs the file's key.
func (s *fileSystem) SetAttr(cancel <-chan struct{}, input *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer s.changes.Add(1)
	in := s.tree.get(input.NodeId)
	if in == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if err := s.setAttr(request(cancel), in, &input.SetAttrInCommon); err != nil {
		return status(err)
	}
	out.SetTimeout(s.timeout)
	return status(s.stat(in, &out.Attr))
}

func (s *fileSystem) setAttr(ctx context.Context, in *inode, a *fuse.SetAttrInCommon) error {
	if a.Valid&fuse.FATTR_SIZE != 0 {
		if err := s.setSize(ctx, in, int64(a.Size), a.Valid&fuse.FATTR_KILL_SUIDGID != 0); err != nil {
			return err
		}
	}
	const meta = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_ATIME | fuse.FATTR_MTIME
	if a.Valid&meta == 0 {
		return nil // FATTR_CTIME alone, or nothing: the store keeps its own ctime
	}
	if err := s.setMeta(in, a); err != nil || a.Valid&(fuse.FATTR_ATIME|fuse.FATTR_MTIME) == 0 {
		return err
	}
	return s.setTimes(in, a)
}

// setMeta changes owner and mode, in the order that keeps the mode: chown clears setuid.
func (s *fileSystem) setMeta(in *inode, a *fuse.SetAttrInCommon) error {
	if a.Valid&(fuse.FATTR_UID|fuse.FATTR_GID|fuse.FATTR_MODE) == 0 {
		return nil
	}
	t, done, err := s.target(in)
	if err != nil {
		return err
	}
	defer done()
	if a.Valid&(fuse.FATTR_UID|fuse.FATTR_GID) != 0 {
		uid, gid := -1, -1
		if a.Valid&fuse.FATTR_UID != 0 {
			uid = int(a.Uid)
		}
		if a.Valid&fuse.FATTR_GID != 0 {
			gid = int(a.Gid)
		}
		if err := t.Chown(uid, gid); err != nil {
			return err
		}
	}
	if a.Valid&fuse.FATTR_MODE != 0 {
		return t.Chmod(a.Mode & 0o7777)
	}
	return nil
}

// setTimes holds in.mu throughout, so that a commit does not put back the old time in between.
func (s *fileSystem) setTimes(in *inode, a *fuse.SetAttrInCommon) error {
	atime := timeOf(a.Valid, fuse.FATTR_ATIME, fuse.FATTR_ATIME_NOW, a.Atime, a.Atimensec)
	mtime := timeOf(a.Valid, fuse.FATTR_MTIME, fuse.FATTR_MTIME_NOW, a.Mtime, a.Mtimensec)
	t, done, err := s.closedTarget(in)
	if err == nil {
		defer done()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	of := in.open.Load()
	if of != nil {
		t, err = of.store, nil
	}
	if err == nil {
		err = t.Utimens(atime, mtime)
	}
	if err != nil || of == nil || a.Valid&fuse.FATTR_MTIME == 0 {
		return err
	}
	if mtime.Nsec == unix.UTIME_NOW {
		mtime = unix.NsecToTimespec(time.Now().UnixNano())
	}
	of.mtime.Store(&mtime)
	return nil
}

func timeOf(valid, set, now uint32, sec uint64, nsec uint32) unix.Timespec {
	switch {
	case valid&set == 0:
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	case valid&now != 0:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	}
	return unix.Timespec{Sec: int64(sec), Nsec: int64(nsec)}
}

// MetaTarget is an object of the store whose metadata is changed: by its open file, also when its
// last name is gone, or by its name.
type MetaTarget interface {
	Chown(uid, gid int) error
	Chmod(mode uint32) error
	Utimens(atime, mtime unix.Timespec) error
}

// named is a MetaTarget addressed by its name.
type named struct {
	d    *dirHandle
	name string
}

func (n named) Chown(uid, gid int) error                 { return n.d.Chown(n.name, uid, gid) }
func (n named) Chmod(mode uint32) error                  { return n.d.Chmod(n.name, mode) }
func (n named) Utimens(atime, mtime unix.Timespec) error { return n.d.Utimens(n.name, atime, mtime) }

// target returns what stands for in in the store; call done afterwards.
func (s *fileSystem) target(in *inode) (t MetaTarget, done func(), err error) {
	if of, done := in.borrow(); of != nil {
		return of.store, done, nil
	}
	return s.closedTarget(in)
}

// closedTarget is target without regard to whether in is in use.
func (s *fileSystem) closedTarget(in *inode) (t MetaTarget, done func(), err error) {
	p, d, done, err := s.locate(in)
	if g := s.tree.ghostOf(in); g != nil && errors.Is(err, syscall.ESTALE) {
		return g.target(), func() {}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return named{d, p.store}, done, nil
}

// setSize truncates a file. One that is not in use is opened for it: the key service is asked.
func (s *fileSystem) setSize(ctx context.Context, in *inode, size int64, killPriv bool) error {
	if !in.isRegular() || size < 0 {
		return syscall.EINVAL
	}
	if err := s.use(ctx, in); err != nil {
		return err
	}
	defer s.release(in, true)
	of := in.open.Load()
	if err := of.file.Truncate(size); err != nil {
		return err
	}
	s.wrote(of, true)
	if killPriv {
		return dropPrivileges(of.store)
	}
	return nil
}

// use takes a handle for a change by an open file's user without asking the key service again, or
// opens the file.
func (s *fileSystem) use(ctx context.Context, in *inode) error {
	in.mu.Lock()
	if of := in.open.Load(); of != nil && of.handles > 0 {
		of.handles++
		of.writers++
		in.mu.Unlock()
		return nil
	}
	in.mu.Unlock()
	return s.acquire(ctx, in, true)
}
