package backing

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// Dir is an open directory of the store (an O_PATH descriptor).
type Dir struct {
	fd     int
	frozen bool
}

// OpenRoot opens the directory at path, following symbolic links in it.
func OpenRoot(path string) (*Dir, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &Dir{fd: fd}, nil
}

// Freeze makes d, and what is opened below it from now on, leave every mode as it is: AsOwner widens
// none. It must come before other use of d.
func (d *Dir) Freeze() { d.frozen = true }

// OpenDir opens the directory name below d. A symbolic link gives ENOTDIR.
func (d *Dir) OpenDir(name string) (*Dir, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &Dir{fd: fd, frozen: d.frozen}, nil
}

// Close releases the descriptor.
func (d *Dir) Close() error { return unix.Close(d.fd) }

// Stat describes name below d without following a symbolic link; "" is d itself.
func (d *Dir) Stat(name string, st *unix.Stat_t) error {
	if name == "" {
		return unix.Fstatat(d.fd, "", st, unix.AT_EMPTY_PATH)
	}
	return unix.Fstatat(d.fd, name, st, unix.AT_SYMLINK_NOFOLLOW)
}

// Mkdir makes a directory.
func (d *Dir) Mkdir(name string, mode uint32) error { return unix.Mkdirat(d.fd, name, mode) }

// Mknod makes a FIFO, socket or device node.
func (d *Dir) Mknod(name string, mode uint32, dev int) error {
	return unix.Mknodat(d.fd, name, mode, dev)
}

// Unlink removes a name that is not a directory.
func (d *Dir) Unlink(name string) error { return unix.Unlinkat(d.fd, name, 0) }

// Rmdir removes an empty directory.
func (d *Dir) Rmdir(name string) error { return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) }

// Rename moves name to newName below to; flags are those of renameat2(2).
func (d *Dir) Rename(name string, to *Dir, newName string, flags uint) error {
	return unix.Renameat2(d.fd, name, to.fd, newName, flags)
}

// Link makes newName below to another name of the file name.
func (d *Dir) Link(name string, to *Dir, newName string) error {
	return unix.Linkat(d.fd, name, to.fd, newName, 0)
}

// Symlink makes a symbolic link with the given target.
func (d *Dir) Symlink(target, name string) error { return unix.Symlinkat(target, d.fd, name) }

// Readlink returns the target of a symbolic link, at most 4095 bytes.
func (d *Dir) Readlink(name string) (string, error) {
	var buf [4096]byte
	n, err := unix.Readlinkat(d.fd, name, buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// Chmod sets the permission bits of name; "" is d itself.
func (d *Dir) Chmod(name string, mode uint32) error {
	if name == "" {
		return unix.Chmod(d.proc(), mode)
	}
	err := unix.Fchmodat(d.fd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil || !(errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP)) {
		return err
	}
	return d.chmodByPath(name, mode)
}

// chmodByPath serves kernels without fchmodat2(2): an O_PATH descriptor never follows a link.
func (d *Dir) chmodByPath(name string, mode uint32) error {
	fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod(procPath(fd), mode)
}

// Chown sets owner and group of name itself, -1 leaves one alone; "" is d itself.
func (d *Dir) Chown(name string, uid, gid int) error {
	return unix.Fchownat(d.fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
}

// Utimens sets access and modification time of name itself (UTIME_OMIT and UTIME_NOW as in
// utimensat(2)); "" is d itself.
func (d *Dir) Utimens(name string, atime, mtime unix.Timespec) error {
	ts := []unix.Timespec{atime, mtime}
	if name == "" {
		return unix.UtimesNanoAt(unix.AT_FDCWD, d.proc(), ts, 0)
	}
	return unix.UtimesNanoAt(d.fd, name, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// Statfs describes the filesystem that holds d.
func (d *Dir) Statfs(st *unix.Statfs_t) error { return unix.Statfs(d.proc(), st) }

// Sync flushes d's entries to the device.
func (d *Dir) Sync() error {
	return d.withReadable(unix.Fsync)
}

// SyncFS flushes the whole filesystem that holds d.
func (d *Dir) SyncFS() error {
	return d.withReadable(unix.Syncfs)
}

func (d *Dir) withReadable(op func(fd int) error) error {
	fd, err := unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return op(fd)
}

// proc is a path that names d whatever it is called by now.
func (d *Dir) proc() string { return procPath(d.fd) }

// procPath names a descriptor of the calling thread. /proc/self is the table of the process's first
// thread, which may have one of its own.
func procPath(fd int) string { return "/proc/thread-self/fd/" + strconv.Itoa(fd) }
