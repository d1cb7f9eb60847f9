package backing

import (
	"errors"
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// File is an open regular file of the store. It implements the Store interface of package
// envelope.
type File struct {
	sys      System
	fd       int
	readOnly bool
	frozen   bool        // see Dir.Freeze
	all      atomic.Bool // the next Sync flushes all metadata
}

// Create makes the regular file name, which must not exist, and opens it for reading and writing.
func (d *Dir) Create(name string, mode uint32) (*File, error) {
	fd, err := d.sys.Open(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, mode)
	if err != nil {
		return nil, err
	}
	return &File{sys: d.sys, fd: fd, frozen: d.frozen}, nil
}

// Open opens the regular file name, for writing too unless readOnly or the store refuses that
// (File.ReadOnly tells). ELOOP or EINVAL when it is not a regular file.
func (d *Dir) Open(name string, readOnly bool) (*File, error) {
	mode := unix.O_RDWR
	if readOnly {
		mode = unix.O_RDONLY
	}
	fd, err := d.openRegular(name, mode)
	if mode == unix.O_RDWR && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS)) {
		mode = unix.O_RDONLY
		fd, err = d.openRegular(name, mode)
	}
	if err != nil {
		return nil, err
	}
	return regular(&File{sys: d.sys, fd: fd, readOnly: mode == unix.O_RDONLY, frozen: d.frozen})
}

func (d *Dir) openRegular(name string, mode int) (fd int, err error) {
	err = d.entryAsOwner(name, func() (err error) {
		fd, err = d.sys.Open(d.fd, name, mode|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		return err
	})
	return fd, err
}

// regular refuses what an attacker may have put in a file's place: opening a FIFO or device.
func regular(f *File) (*File, error) {
	var st unix.Stat_t
	err := f.Stat(&st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.EINVAL
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Dup returns another descriptor of the same open file.
func (f *File) Dup() (*File, error) {
	fd, err := f.sys.Dup(f.fd)
	if err != nil {
		return nil, err
	}
	return &File{sys: f.sys, fd: fd, readOnly: f.readOnly, frozen: f.frozen}, nil
}

// ReadOnly reports whether the file was opened for reading only.
func (f *File) ReadOnly() bool { return f.readOnly }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := f.sys.Pread(f.fd, p[done:], off+int64(done))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return done, err
		case n == 0:
			return done, io.EOF
		default:
			done += n
		}
	}
	return done, nil
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := f.sys.Pwrite(f.fd, p[done:], off+int64(done))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return done, err
		}
		if err == nil {
			done += n
		}
	}
	return done, nil
}

// Truncate sets the length in bytes.
func (f *File) Truncate(size int64) error { return f.sys.Truncate(f.fd, size) }

// Sync flushes the data, and the metadata that is needed to read it, to the device; after WantAll
// everything else that is known of the file too.
func (f *File) Sync() error {
	if !f.all.Load() {
		return f.sys.Fdatasync(f.fd)
	}
	err := f.sys.Fsync(f.fd)
	if err == nil {
		f.all.Store(false)
	}
	return err
}

// WantAll makes the next Sync flush names and attributes as well. WantsAll reports whether it is
// still to come.
func (f *File) WantAll() { f.all.Store(true) }

// WantsAll: see WantAll.
func (f *File) WantsAll() bool { return f.all.Load() }

// Size returns the length in bytes.
func (f *File) Size() (int64, error) {
	var st unix.Stat_t
	if err := f.Stat(&st); err != nil {
		return 0, err
	}
	return st.Size, nil
}

// Stat describes the open file, also when its last name is gone.
func (f *File) Stat(st *unix.Stat_t) (err error) {
	*st, err = f.sys.Stat(f.fd, "")
	return err
}

// Chmod sets the permission bits.
func (f *File) Chmod(mode uint32) error { return f.sys.Chmod(f.fd, "", mode) }

// Chown sets owner and group, -1 leaves one alone.
func (f *File) Chown(uid, gid int) error { return f.sys.Chown(f.fd, "", uid, gid) }

// Utimens sets access and modification time as futimens(3) does.
func (f *File) Utimens(atime, mtime unix.Timespec) error {
	return f.sys.Utimens(f.fd, "", atime, mtime)
}

// GetXattr reads an extended attribute into buf and returns its length.
func (f *File) GetXattr(attr string, buf []byte) (int, error) {
	return f.sys.GetXattr(f.fd, "", attr, buf)
}

// SetXattr sets an extended attribute; flags are those of fsetxattr(2).
func (f *File) SetXattr(attr string, value []byte, flags int) error {
	return f.asOwner(func() error { return f.sys.SetXattr(f.fd, "", attr, value, flags) })
}

// RemoveXattr removes an extended attribute.
func (f *File) RemoveXattr(attr string) error {
	return f.asOwner(func() error { return f.sys.RemoveXattr(f.fd, "", attr) })
}

// ListXattr returns the names of the extended attributes.
func (f *File) ListXattr() ([]string, error) {
	return f.sys.ListXattr(f.fd, "")
}

// Lock takes the exclusive lock of flock(2), or fails with EWOULDBLOCK when another process holds it.
func (f *File) Lock() error { return f.sys.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB) }

// LockShared takes the shared lock of flock(2), or fails with EWOULDBLOCK when another process holds
// the exclusive one.
func (f *File) LockShared() error { return f.sys.Flock(f.fd, unix.LOCK_SH|unix.LOCK_NB) }

// Close releases the descriptor.
func (f *File) Close() error { return f.sys.Close(f.fd) }
