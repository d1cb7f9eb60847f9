package copytree

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs"
)

// Open implements Tree.
func (Local) Open(path string) (Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &localSource{f, st.Size()}, nil
}

type localSource struct {
	*os.File
	size int64
}

func (f *localSource) Size() int64 { return f.size }

// NextData implements Source. What the filesystem does not tell is data.
func (f *localSource) NextData(off int64) (start, end int64, err error) {
	if off >= f.size {
		return f.size, f.size, nil
	}
	start, err = f.Seek(off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return f.size, f.size, nil
	}
	if err == nil {
		end, err = f.Seek(start, unix.SEEK_HOLE)
	}
	if errors.Is(err, unix.EINVAL) {
		return off, f.size, nil
	}
	return start, end, err
}

// Create implements Tree.
func (Local) Create(path string, mode uint32) (Sink, error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() && !st.IsDir() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &Stream{Out: f, close: f.Close}, nil
	}
	temp := tempPath(path)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, os.FileMode(mode&0o777))
	if err != nil {
		return nil, err
	}
	return &localSink{File: f, path: path}, nil
}

// tempPath is a name beside path that nobody has.
func tempPath(path string) string {
	var b [12]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return filepath.Join(filepath.Dir(path), ".kmsfs-"+hex.EncodeToString(b[:]))
}

type localSink struct {
	*os.File
	path string
	done bool
}

// SetXattr implements Sink.
func (f *localSink) SetXattr(name string, value []byte) error {
	return pathError("set attribute "+name+" of", f.path, unix.Fsetxattr(int(f.Fd()), name, value, 0))
}

// Commit implements Sink. What it replaces stays over a power loss until the new content is there.
func (f *localSink) Commit(m fs.Meta) error {
	err := m.Apply(f)
	if _, there := os.Lstat(f.path); err == nil && there == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.File.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		f.Abort()
		return err
	}
	f.done = true
	return nil
}

// Abort implements Sink.
func (f *localSink) Abort() {
	if !f.done {
		f.done = true
		f.File.Close()
		os.Remove(f.Name())
	}
}

func (f *localSink) Chown(uid, gid int) error { return f.File.Chown(uid, gid) }
func (f *localSink) Chmod(mode uint32) error  { return unix.Fchmod(int(f.Fd()), mode) }
func (f *localSink) Utimens(atime, mtime unix.Timespec) error {
	return unix.UtimesNanoAt(int(f.Fd()), "", []unix.Timespec{atime, mtime}, unix.AT_EMPTY_PATH)
}
