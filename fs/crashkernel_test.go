package fs

import (
	"context"
	"log/slog"
	"path"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing/crashdisk"
)

// kernel asks a volume what the kernel would ask, without one: paths are resolved by lookups, whose
// references are given back when the test says so.
type kernel struct {
	fs   *fileSystem
	refs []uint64 // references to give back
}

// mountModel attaches the volume on a disk as Mount does, but for the mount point and the grant.
func mountModel(disk *crashdisk.Disk, keys KeyService, log *slog.Logger) (*kernel, error) {
	v := &volume{root: disk.Root(), keys: keys, log: log}
	if err := v.open(context.Background(), &MountOptions{Backing: "/"}); err != nil {
		v.close()
		return nil, err
	}
	s, err := newFileSystem(v, &MountOptions{Logger: log, NoWriteback: true})
	if err != nil {
		v.close()
		return nil, err
	}
	s.workers = 1
	return &kernel{fs: s}, nil
}

// unmount is what follows the end of a mount.
func (k *kernel) unmount() error {
	close(k.fs.committer.done) // its goroutine never ran
	err := k.fs.detach()
	k.fs.vol.close()
	return err
}

// forget gives all references back.
func (k *kernel) forget() {
	for _, id := range k.refs {
		k.fs.Forget(id, 1)
	}
	k.refs = k.refs[:0]
}

func header(id uint64) fuse.InHeader { return fuse.InHeader{NodeId: id} }

func result(st fuse.Status) error {
	if st == fuse.OK {
		return nil
	}
	return syscall.Errno(st)
}

// walk resolves a path; it holds a reference until forget.
func (k *kernel) walk(p string) (uint64, error) {
	id := uint64(fuse.FUSE_ROOT_ID)
	for name := range strings.SplitSeq(p, "/") {
		if name == "" {
			continue
		}
		var out fuse.EntryOut
		h := header(id)
		if err := result(k.fs.Lookup(nil, &h, name, &out)); err != nil {
			return 0, err
		}
		if out.NodeId == 0 {
			return 0, syscall.ENOENT
		}
		k.refs = append(k.refs, out.NodeId)
		id = out.NodeId
	}
	return id, nil
}

// at resolves the directory of a path.
func (k *kernel) at(p string) (dir uint64, name string, err error) {
	up := path.Dir(p)
	if up == "." {
		up = ""
	}
	dir, err = k.walk(up)
	return dir, path.Base(p), err
}

// retry does as the kernel does when an inode turns out to be stale: it resolves the path again.
func (k *kernel) retry(op func() error) error {
	err := op()
	for range 3 {
		if err != syscall.ESTALE {
			break
		}
		err = op()
	}
	return err
}

// keepRef counts the reference that an answer carries.
func (k *kernel) keepRef(out *fuse.EntryOut) { k.refs = append(k.refs, out.NodeId) }

// opened is a file handle; it holds a reference of its own.
type opened struct {
	k  *kernel
	id uint64
}

func (k *kernel) create(p string) (*opened, error) {
	dir, name, err := k.at(p)
	if err != nil {
		return nil, err
	}
	var out fuse.CreateOut
	err = result(k.fs.Create(nil, &fuse.CreateIn{InHeader: header(dir), Flags: unix.O_RDWR, Mode: 0o644}, name, &out))
	if err != nil {
		return nil, err
	}
	return &opened{k, out.NodeId}, nil
}

func (k *kernel) openFile(p string) (o *opened, err error) {
	err = k.retry(func() error {
		id, err := k.walk(p)
		if err != nil {
			return err
		}
		var out fuse.OpenOut
		if err := result(k.fs.Open(nil, &fuse.OpenIn{InHeader: header(id), Flags: unix.O_RDWR}, &out)); err != nil {
			return err
		}
		k.takeRef(id)
		o = &opened{k, id}
		return nil
	})
	return o, err
}

// takeRef makes the last reference to an inode one that stays.
func (k *kernel) takeRef(id uint64) {
	for i := len(k.refs) - 1; i >= 0; i-- {
		if k.refs[i] == id {
			k.refs = append(k.refs[:i], k.refs[i+1:]...)
			return
		}
	}
}

func (o *opened) write(p []byte, off int64) error {
	h := &fuse.WriteIn{InHeader: header(o.id), Offset: uint64(off), Size: uint32(len(p))}
	_, st := o.k.fs.Write(nil, h, p)
	return result(st)
}

func (o *opened) read(off int64, n int) ([]byte, error) {
	res, st := o.k.fs.Read(nil, &fuse.ReadIn{InHeader: header(o.id), Offset: uint64(off), Size: uint32(n)}, make([]byte, n))
	if st != fuse.OK {
		return nil, result(st)
	}
	b, st := res.Bytes(nil)
	return b, result(st)
}

func (o *opened) truncate(size int64) error {
	h := &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: header(o.id), Valid: fuse.FATTR_SIZE, Size: uint64(size)}}
	var out fuse.AttrOut
	return result(o.k.fs.SetAttr(nil, h, &out))
}

func (o *opened) punch(off, n int64) error {
	h := &fuse.FallocateIn{InHeader: header(o.id), Offset: uint64(off), Length: uint64(n), Mode: unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE}
	return result(o.k.fs.Fallocate(nil, h))
}

func (o *opened) fsync(dataOnly bool) error {
	h := &fuse.FsyncIn{InHeader: header(o.id)}
	if dataOnly {
		h.FsyncFlags = fsyncDataOnly
	}
	return result(o.k.fs.Fsync(nil, h))
}

// close is FLUSH, RELEASE and the end of the reference.
func (o *opened) close() error {
	err := result(o.k.fs.Flush(nil, &fuse.FlushIn{InHeader: header(o.id)}))
	o.k.fs.Release(nil, &fuse.ReleaseIn{InHeader: header(o.id), Flags: unix.O_RDWR})
	o.k.fs.Forget(o.id, 1)
	return err
}

func (k *kernel) mkdir(p string) error {
	dir, name, err := k.at(p)
	if err != nil {
		return err
	}
	var out fuse.EntryOut
	err = result(k.fs.Mkdir(nil, &fuse.MkdirIn{InHeader: header(dir), Mode: 0o755}, name, &out))
	if err == nil {
		k.keepRef(&out)
	}
	return err
}

func (k *kernel) symlink(target, p string) error {
	dir, name, err := k.at(p)
	if err != nil {
		return err
	}
	var out fuse.EntryOut
	h := header(dir)
	err = result(k.fs.Symlink(nil, &h, target, name, &out))
	if err == nil {
		k.keepRef(&out)
	}
	return err
}

func (k *kernel) link(from, to string) error {
	return k.retry(func() error {
		id, err := k.walk(from)
		if err != nil {
			return err
		}
		dir, name, err := k.at(to)
		if err != nil {
			return err
		}
		var out fuse.EntryOut
		err = result(k.fs.Link(nil, &fuse.LinkIn{InHeader: header(dir), Oldnodeid: id}, name, &out))
		if err == nil {
			k.keepRef(&out)
		}
		return err
	})
}

func (k *kernel) unlink(p string) error { return k.remove(p, k.fs.Unlink) }
func (k *kernel) rmdir(p string) error  { return k.remove(p, k.fs.Rmdir) }

func (k *kernel) remove(p string, call func(<-chan struct{}, *fuse.InHeader, string) fuse.Status) error {
	return k.retry(func() error {
		if _, err := k.walk(p); err != nil { // the kernel knows what it removes
			return err
		}
		dir, name, err := k.at(p)
		if err != nil {
			return err
		}
		h := header(dir)
		return result(call(nil, &h, name))
	})
}

func (k *kernel) rename(from, to string, flags uint32) error {
	return k.retry(func() error {
		if _, err := k.walk(from); err != nil {
			return err
		}
		if _, err := k.walk(to); err != nil && err != syscall.ENOENT {
			return err
		}
		a, oldName, err := k.at(from)
		if err != nil {
			return err
		}
		b, newName, err := k.at(to)
		if err != nil {
			return err
		}
		return result(k.fs.Rename(nil, &fuse.RenameIn{InHeader: header(a), Newdir: b, Flags: flags}, oldName, newName))
	})
}

func (k *kernel) fsyncDir(p string) error {
	id, err := k.walk(p)
	if err != nil {
		return err
	}
	return result(k.fs.FsyncDir(nil, &fuse.FsyncIn{InHeader: header(id)}))
}

const modelAttr = "user.note"

func (k *kernel) setAttr(p, value string) error {
	return k.retry(func() error {
		id, err := k.walk(p)
		if err != nil {
			return err
		}
		return result(k.fs.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: header(id)}, modelAttr, []byte(value)))
	})
}

// attr returns the attribute, "" when there is none.
func (k *kernel) attr(id uint64) (string, error) {
	buf := make([]byte, 256)
	h := header(id)
	n, st := k.fs.GetXAttr(nil, &h, modelAttr, buf)
	if st == fuse.ENODATA {
		return "", nil
	}
	return string(buf[:n]), result(st)
}

func (k *kernel) readlink(id uint64) (string, error) {
	h := header(id)
	b, st := k.fs.Readlink(nil, &h)
	return string(b), result(st)
}

// list returns the names in a directory.
func (k *kernel) list(id uint64) ([]string, error) {
	dir := k.fs.tree.get(id)
	d, err := k.fs.dir(dir)
	if err != nil {
		return nil, err
	}
	defer k.fs.dirs.release(d)
	ds := &dirStream{in: dir}
	if err := k.fs.fill(ds, d); err != nil {
		return nil, err
	}
	var names []string
	for _, e := range ds.entries[2:] {
		names = append(names, e.name)
	}
	return names, nil
}
