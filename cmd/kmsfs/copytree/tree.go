package copytree

import (
	"io"

	"github.com/kmsfs/kmsfs/fs"
)

// Tree is a directory tree to copy from or to. Paths are absolute, with slashes.
type Tree interface {
	// Stat describes what a path leads to, Lstat a symbolic link itself.
	Stat(path string) (Attr, error)
	Lstat(path string) (Attr, error)
	ReadDir(path string) ([]string, error)
	Open(path string) (Source, error)
	// Create begins a regular file that takes the path at Commit. mode is subject to the umask.
	Create(path string, mode uint32) (Sink, error)
	Mkdir(path string, mode uint32) error
	Mknod(path string, mode uint32, rdev int) error
	// Symlink replaces what is at path unless that is a directory.
	Symlink(target, path string) error
	SetMeta(path string, m fs.Meta) error
	// Xattrs returns the attributes of the user namespace.
	Xattrs(path string) (map[string][]byte, error)
	SetXattr(path, name string, value []byte) error
}

// Attr is fs.Attr with the filesystem that its inode number belongs to.
type Attr struct {
	fs.Attr
	Device string
}

// same reports whether a and b describe one object.
func (a *Attr) same(b *Attr) bool { return a.Device == b.Device && a.Ino == b.Ino }

// Source is a regular file to copy from.
type Source interface {
	io.ReaderAt
	io.Closer
	Size() int64
	// NextData returns the first range at or after off that is not in a hole; start is the size when
	// there is none.
	NextData(off int64) (start, end int64, err error)
}

// Sink is a regular file that is being written.
type Sink interface {
	io.WriterAt
	Truncate(size int64) error
	SetXattr(name string, value []byte) error
	// Commit gives it its name, Abort gives it up; Abort after Commit does nothing.
	Commit(m fs.Meta) error
	Abort()
}
