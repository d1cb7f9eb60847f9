package fs

import (
	"context"
	"io"
	"strings"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// Attr describes an object of a volume.
type Attr struct {
	Path         string // plaintext path that it was asked for, without symbolic links as far as these were followed
	Mode         uint32 // S_IFMT and permission bits
	Size         int64  // bytes of plaintext; of a symbolic link: of its target
	Links        uint32
	Ino          uint64
	UID, GID     uint32
	Rdev         uint32
	Atime, Mtime unix.Timespec
	Target       string // symbolic links
}

// Stat describes what path leads to, Lstat a symbolic link itself.
func (o *Offline) Stat(path string) (Attr, error) { return o.describe(path, true) }

// Lstat: see Stat.
func (o *Offline) Lstat(path string) (Attr, error) { return o.describe(path, false) }

func (o *Offline) describe(path string, follow bool) (Attr, error) {
	f, err := o.fs.find(path, follow)
	if err != nil {
		return Attr{}, newError("stat", path, err)
	}
	defer f.release()
	a := f.attr
	out := Attr{
		Path: f.path, Mode: a.Mode, Size: int64(a.Size), Links: a.Nlink, Ino: a.Ino, UID: a.Uid, GID: a.Gid, Rdev: a.Rdev,
		Atime: unix.Timespec{Sec: int64(a.Atime), Nsec: int64(a.Atimensec)},
		Mtime: unix.Timespec{Sec: int64(a.Mtime), Nsec: int64(a.Mtimensec)},
	}
	if f.in.kind == unix.S_IFLNK {
		if out.Target, err = f.target(); err != nil {
			return Attr{}, newError("readlink", path, err)
		}
	}
	return out, nil
}

// ReadDir returns the names in a directory, in no certain order. Names that the volume did not make
// are left out and logged.
func (o *Offline) ReadDir(path string) ([]string, error) {
	f, err := o.fs.find(path, true)
	if err != nil {
		return nil, fileError("list", path, err)
	}
	defer f.release()
	if !f.in.isDir() {
		return nil, newError("list", path, syscall.ENOTDIR)
	}
	d, err := o.fs.dir(f.in)
	if err != nil {
		return nil, fileError("list", path, err)
	}
	defer o.fs.dirs.release(d)
	entries, err := d.List()
	if err != nil {
		return nil, fileError("list", path, err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if se, ok := o.fs.plainEntry(f.in, d, e); ok {
			names = append(names, se.name)
		}
	}
	return names, nil
}

// Xattrs returns the extended attributes of the user's of the object at path itself.
func (o *Offline) Xattrs(path string) (map[string][]byte, error) {
	f, err := o.fs.find(path, false)
	if err != nil {
		return nil, newError("list attributes of", path, err)
	}
	defer f.release()
	h := fuse.InHeader{NodeId: f.in.id}
	buf := make([]byte, maxXattr)
	n, st := o.fs.ListXAttr(nil, &h, buf)
	if st != fuse.OK {
		return nil, newError("list attributes of", path, errOf(st))
	}
	all := map[string][]byte{}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, maxXattr)
		n, st := o.fs.GetXAttr(nil, &h, name, value)
		if st != fuse.OK {
			return nil, newError("read attribute "+name+" of", path, errOf(st))
		}
		all[name] = value[:n]
	}
	return all, nil
}

// OfflineFile is a regular file of a volume that is open offline, for reading.
type OfflineFile struct {
	path  string
	found *found
	file  *envelope.File
	once  sync.Once
}

// Open opens a regular file for reading; the key service is asked for its data key. Close it.
func (o *Offline) Open(path string) (*OfflineFile, error) {
	f, err := o.fs.find(path, true)
	if err != nil {
		return nil, fileError("open", path, err)
	}
	if err := o.fs.open(o.ctx, f.in); err != nil {
		f.release()
		return nil, fileError("open", path, err)
	}
	return &OfflineFile{path: f.path, found: f, file: f.in.open.Load().file}, nil
}

// open takes a handle for reading.
func (s *fileSystem) open(ctx context.Context, in *inode) error {
	if in.isDir() {
		return syscall.EISDIR
	}
	return s.acquire(ctx, in, false)
}

// Size returns the plaintext size in bytes.
func (f *OfflineFile) Size() int64 { return f.file.Size() }

// ReadAt implements io.ReaderAt.
func (f *OfflineFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.file.ReadAt(p, off)
	switch {
	case err != nil:
		return n, newError("read", f.path, err)
	case n < len(p):
		return n, io.EOF
	}
	return n, nil
}

// NextData returns the first range of bytes at or after off that is not in a hole; start is the size
// when there is none.
func (f *OfflineFile) NextData(off int64) (start, end int64, err error) {
	start, err = f.file.SeekData(off)
	if envelope.KindOf(err) == envelope.KindNoData {
		return f.file.Size(), f.file.Size(), nil
	}
	if err == nil {
		end, err = f.file.SeekHole(start)
	}
	if err != nil {
		return 0, 0, newError("read", f.path, err)
	}
	return start, end, nil
}

// Close gives the data key up. Later calls do nothing.
func (f *OfflineFile) Close() error {
	f.once.Do(func() {
		f.found.s.release(f.found.in, false)
		f.found.release()
	})
	return nil
}
