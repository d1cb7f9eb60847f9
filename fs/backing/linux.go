package backing

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// linux is the System of the running kernel. A directory is an O_PATH descriptor.
type linux struct{}

func (linux) Open(dir int, name string, flags int, mode uint32) (int, error) {
	return unix.Openat(dir, name, flags|unix.O_CLOEXEC, mode)
}

func (linux) Dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }

func (linux) Close(fd int) error { return unix.Close(fd) }

func (linux) Stat(fd int, name string) (st unix.Stat_t, err error) {
	if name == "" {
		return st, unix.Fstat(fd, &st)
	}
	return st, unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
}

func (linux) Statfs(fd int) (st unix.Statfs_t, err error) {
	return st, unix.Statfs(procPath(fd), &st)
}

func (linux) List(dir int, use func(some []Entry) error) error {
	buf := make([]byte, 64<<10)
	var some []Entry
	for {
		n, err := unix.Getdents(dir, buf)
		if err != nil {
			return os.NewSyscallError("getdents64", err)
		}
		if n == 0 {
			return nil
		}
		some = appendEntries(some[:0], buf[:n])
		if err := use(some); err != nil {
			return err
		}
	}
}

func (linux) Readlink(dir int, name string) (string, error) {
	var buf [4096]byte
	n, err := unix.Readlinkat(dir, name, buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func (linux) Mkdir(dir int, name string, mode uint32) error { return unix.Mkdirat(dir, name, mode) }

func (linux) Mknod(dir int, name string, mode uint32, dev int) error {
	return unix.Mknodat(dir, name, mode, dev)
}

func (linux) Symlink(target string, dir int, name string) error {
	return unix.Symlinkat(target, dir, name)
}

func (linux) Link(dir int, name string, to int, newName string) error {
	return unix.Linkat(dir, name, to, newName, 0)
}

func (linux) Rename(dir int, name string, to int, newName string, flags uint) error {
	return unix.Renameat2(dir, name, to, newName, flags)
}

func (linux) Unlink(dir int, name string) error { return unix.Unlinkat(dir, name, 0) }

func (linux) Rmdir(dir int, name string) error { return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) }

func (linux) Chmod(fd int, name string, mode uint32) error {
	if name == "" {
		err := unix.Fchmod(fd, mode)
		if errors.Is(err, unix.EBADF) {
			err = unix.Chmod(procPath(fd), mode) // O_PATH
		}
		return err
	}
	err := unix.Fchmodat(fd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil || !(errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP)) {
		return err
	}
	return chmodByPath(fd, name, mode)
}

// chmodByPath serves kernels without fchmodat2(2): an O_PATH descriptor never follows a link.
func chmodByPath(dir int, name string, mode uint32) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod(procPath(fd), mode)
}

func (linux) Chown(fd int, name string, uid, gid int) error {
	return unix.Fchownat(fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
}

func (linux) Utimens(fd int, name string, atime, mtime unix.Timespec) error {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	return unix.UtimesNanoAt(fd, name, []unix.Timespec{atime, mtime}, flags)
}

func (linux) GetXattr(fd int, name, attr string, buf []byte) (int, error) {
	if name != "" {
		return unix.Lgetxattr(procPath(fd)+"/"+name, attr, buf)
	}
	n, err := unix.Fgetxattr(fd, attr, buf)
	if errors.Is(err, unix.EBADF) {
		n, err = unix.Getxattr(procPath(fd), attr, buf) // O_PATH
	}
	return n, err
}

func (linux) SetXattr(fd int, name, attr string, value []byte, flags int) error {
	if name != "" {
		return unix.Lsetxattr(procPath(fd)+"/"+name, attr, value, flags)
	}
	err := unix.Fsetxattr(fd, attr, value, flags)
	if errors.Is(err, unix.EBADF) {
		err = unix.Setxattr(procPath(fd), attr, value, flags)
	}
	return err
}

func (linux) RemoveXattr(fd int, name, attr string) error {
	if name != "" {
		return unix.Lremovexattr(procPath(fd)+"/"+name, attr)
	}
	err := unix.Fremovexattr(fd, attr)
	if errors.Is(err, unix.EBADF) {
		err = unix.Removexattr(procPath(fd), attr)
	}
	return err
}

func (linux) ListXattr(fd int, name string) ([]string, error) {
	return listXattr(func(buf []byte) (int, error) {
		if name != "" {
			return unix.Llistxattr(procPath(fd)+"/"+name, buf)
		}
		n, err := unix.Flistxattr(fd, buf)
		if errors.Is(err, unix.EBADF) {
			n, err = unix.Listxattr(procPath(fd), buf)
		}
		return n, err
	})
}

func (linux) Pread(fd int, p []byte, off int64) (int, error)  { return unix.Pread(fd, p, off) }
func (linux) Pwrite(fd int, p []byte, off int64) (int, error) { return unix.Pwrite(fd, p, off) }
func (linux) Truncate(fd int, size int64) error               { return unix.Ftruncate(fd, size) }
func (linux) Fsync(fd int) error                              { return unix.Fsync(fd) }
func (linux) Fdatasync(fd int) error                          { return unix.Fdatasync(fd) }
func (linux) Syncfs(fd int) error                             { return unix.Syncfs(fd) }
func (linux) Flock(fd, how int) error                         { return unix.Flock(fd, how) }

// procPath names a descriptor of the calling thread. /proc/self is the table of the process's first
// thread, which may have one of its own.
func procPath(fd int) string { return "/proc/thread-self/fd/" + strconv.Itoa(fd) }
