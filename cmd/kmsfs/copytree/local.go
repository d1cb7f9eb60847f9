package copytree

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs"
)

// Local is the directory tree of this machine.
type Local struct{}

// Stat implements Tree.
func (Local) Stat(path string) (Attr, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Attr{}, err
	}
	return lstat(real)
}

// Lstat implements Tree.
func (Local) Lstat(path string) (Attr, error) { return lstat(path) }

func lstat(path string) (Attr, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Attr{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	a := Attr{Device: strconv.FormatUint(st.Dev, 10), Attr: fs.Attr{
		Path: path, Mode: st.Mode, Size: st.Size, Links: uint32(st.Nlink), Ino: st.Ino, UID: st.Uid, GID: st.Gid,
		Rdev: uint32(st.Rdev), Atime: st.Atim, Mtime: st.Mtim,
	}}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		var err error
		if a.Target, err = os.Readlink(path); err != nil {
			return Attr{}, err
		}
	}
	return a, nil
}

// ReadDir implements Tree.
func (Local) ReadDir(path string) ([]string, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// Mkdir implements Tree.
func (Local) Mkdir(path string, mode uint32) error {
	return pathError("mkdir", path, unix.Mkdir(path, mode))
}

// Mknod implements Tree.
func (Local) Mknod(path string, mode uint32, rdev int) error {
	return pathError("mknod", path, unix.Mknod(path, mode, rdev))
}

// Link makes a hard link, which must not be there.
func (Local) Link(old, path string) error { return os.Link(old, path) }

// Symlink implements Tree.
func (Local) Symlink(target, path string) error {
	temp := tempPath(path)
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// SetMeta implements Tree.
func (Local) SetMeta(path string, m fs.Meta) error {
	return pathError("change", path, m.Apply(localName(path)))
}

// Xattrs implements Tree.
func (Local) Xattrs(path string) (map[string][]byte, error) {
	buf := make([]byte, 64<<10) // XATTR_LIST_MAX, and XATTR_SIZE_MAX
	n, err := unix.Llistxattr(path, buf)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return nil, pathError("list attributes of", path, err)
	}
	all := map[string][]byte{}
	for name := range strings.SplitSeq(string(buf[:max(n, 0)]), "\x00") {
		if !strings.HasPrefix(name, "user.") {
			continue
		}
		n, err := unix.Lgetxattr(path, name, buf)
		if err != nil {
			return nil, pathError("read attribute "+name+" of", path, err)
		}
		all[name] = append([]byte{}, buf[:n]...)
	}
	return all, nil
}

// SetXattr implements Tree.
func (Local) SetXattr(path, name string, value []byte) error {
	return pathError("set attribute "+name+" of", path, unix.Lsetxattr(path, name, value, 0))
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// localName changes the metadata of what has this name.
type localName string

func (n localName) Chown(uid, gid int) error { return unix.Lchown(string(n), uid, gid) }
func (n localName) Chmod(mode uint32) error  { return unix.Chmod(string(n), mode) }
func (n localName) Utimens(atime, mtime unix.Timespec) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, string(n), []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}
