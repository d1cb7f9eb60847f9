package backing

import "golang.org/x/sys/unix"

// System is what Dir and File ask of the operating system, so that a store can also stand in memory and
// lose power there. Objects are open descriptors; name is one component below a directory, or "" for the
// object itself. Symbolic links are never followed. Errors are of type unix.Errno, as Linux gives them.
type System interface {
	// Open opens name; flags are those of open(2). The caller closes the descriptor.
	Open(dir int, name string, flags int, mode uint32) (fd int, err error)
	Dup(fd int) (int, error)
	Close(fd int) error

	Stat(fd int, name string) (unix.Stat_t, error)
	Statfs(fd int) (unix.Statfs_t, error)
	// List gives the entries some at a time, without "." and "..", in a slice that is use's only until it
	// returns.
	List(dir int, use func(some []Entry) error) error
	Readlink(dir int, name string) (string, error)

	Mkdir(dir int, name string, mode uint32) error
	Mknod(dir int, name string, mode uint32, dev int) error
	Symlink(target string, dir int, name string) error
	Link(dir int, name string, to int, newName string) error
	Rename(dir int, name string, to int, newName string, flags uint) error
	Unlink(dir int, name string) error
	Rmdir(dir int, name string) error

	Chmod(fd int, name string, mode uint32) error
	Chown(fd int, name string, uid, gid int) error
	Utimens(fd int, name string, atime, mtime unix.Timespec) error

	GetXattr(fd int, name, attr string, buf []byte) (int, error)
	SetXattr(fd int, name, attr string, value []byte, flags int) error
	RemoveXattr(fd int, name, attr string) error
	ListXattr(fd int, name string) ([]string, error)

	Pread(fd int, p []byte, off int64) (int, error)
	Pwrite(fd int, p []byte, off int64) (int, error)
	Truncate(fd int, size int64) error
	Fsync(fd int) error
	Fdatasync(fd int) error
	Syncfs(fd int) error
	Flock(fd, how int) error
}
