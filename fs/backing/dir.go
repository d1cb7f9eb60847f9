package backing

import "golang.org/x/sys/unix"

// Dir is an open directory of the store.
type Dir struct {
	sys    System
	fd     int
	frozen bool
}

// OpenRoot opens the directory at path, following symbolic links in it.
func OpenRoot(path string) (*Dir, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return NewRoot(linux{}, fd), nil
}

// NewRoot returns the directory that is open as fd in sys. Close closes it.
func NewRoot(sys System, fd int) *Dir { return &Dir{sys: sys, fd: fd} }

// Freeze makes d, and what is opened below it from now on, leave every mode as it is: AsOwner widens
// none. It must come before other use of d.
func (d *Dir) Freeze() { d.frozen = true }

// OpenDir opens the directory name below d. A symbolic link gives ENOTDIR.
func (d *Dir) OpenDir(name string) (*Dir, error) {
	fd, err := d.sys.Open(d.fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return &Dir{sys: d.sys, fd: fd, frozen: d.frozen}, nil
}

// Close releases the descriptor.
func (d *Dir) Close() error { return d.sys.Close(d.fd) }

// Stat describes name below d without following a symbolic link; "" is d itself.
func (d *Dir) Stat(name string, st *unix.Stat_t) (err error) {
	*st, err = d.sys.Stat(d.fd, name)
	return err
}

// Mkdir makes a directory.
func (d *Dir) Mkdir(name string, mode uint32) error { return d.sys.Mkdir(d.fd, name, mode) }

// Mknod makes a FIFO, socket or device node.
func (d *Dir) Mknod(name string, mode uint32, dev int) error {
	return d.sys.Mknod(d.fd, name, mode, dev)
}

// Unlink removes a name that is not a directory.
func (d *Dir) Unlink(name string) error { return d.sys.Unlink(d.fd, name) }

// Rmdir removes an empty directory.
func (d *Dir) Rmdir(name string) error { return d.sys.Rmdir(d.fd, name) }

// Rename moves name to newName below to; flags are those of renameat2(2).
func (d *Dir) Rename(name string, to *Dir, newName string, flags uint) error {
	return d.sys.Rename(d.fd, name, to.fd, newName, flags)
}

// Link makes newName below to another name of the file name.
func (d *Dir) Link(name string, to *Dir, newName string) error {
	return d.sys.Link(d.fd, name, to.fd, newName)
}

// Symlink makes a symbolic link with the given target.
func (d *Dir) Symlink(target, name string) error { return d.sys.Symlink(target, d.fd, name) }

// Readlink returns the target of a symbolic link, at most 4095 bytes.
func (d *Dir) Readlink(name string) (string, error) { return d.sys.Readlink(d.fd, name) }

// Chmod sets the permission bits of name; "" is d itself.
func (d *Dir) Chmod(name string, mode uint32) error { return d.sys.Chmod(d.fd, name, mode) }

// Chown sets owner and group of name itself, -1 leaves one alone; "" is d itself.
func (d *Dir) Chown(name string, uid, gid int) error { return d.sys.Chown(d.fd, name, uid, gid) }

// Utimens sets access and modification time of name itself (UTIME_OMIT and UTIME_NOW as in
// utimensat(2)); "" is d itself.
func (d *Dir) Utimens(name string, atime, mtime unix.Timespec) error {
	return d.sys.Utimens(d.fd, name, atime, mtime)
}

// Statfs describes the filesystem that holds d.
func (d *Dir) Statfs(st *unix.Statfs_t) (err error) {
	*st, err = d.sys.Statfs(d.fd)
	return err
}

// Sync flushes d's entries to the device.
func (d *Dir) Sync() error { return d.withReadable(d.sys.Fsync) }

// SyncFS flushes the whole filesystem that holds d.
func (d *Dir) SyncFS() error { return d.withReadable(d.sys.Syncfs) }

func (d *Dir) withReadable(op func(fd int) error) error {
	fd, err := d.sys.Open(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer d.sys.Close(fd)
	return op(fd)
}
