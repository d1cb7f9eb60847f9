package integration

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// xattrRecord is how PAX archives carry an extended attribute, as GNU tar --xattrs does.
const xattrRecord = "SCHILY.xattr."

// packTree archives what is below dir with modes, times, hard links and user attributes, which version
// control would lose.
func packTree(t *testing.T, dir, archive string) {
	t.Helper()
	f, err := os.Create(archive)
	must(t, err)
	defer f.Close()
	zip, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	must(t, err)
	w := tar.NewWriter(zip)
	first := map[uint64]string{} // of hard links, by inode number
	must(t, filepath.WalkDir(dir, func(path string, e iofs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		return packOne(w, dir, path, first)
	}))
	must(t, errors.Join(w.Close(), zip.Close(), f.Close()))
}

func packOne(w *tar.Writer, dir, path string, first map[uint64]string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	target, _ := os.Readlink(path) // "" for all but links
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	h.Name, h.Format = rel, tar.FormatPAX
	h.Uid, h.Gid, h.Uname, h.Gname, h.AccessTime, h.ChangeTime = 0, 0, "", "", time.Time{}, time.Time{}
	h.PAXRecords = map[string]string{}
	for name, value := range userXattrs(path) {
		h.PAXRecords[xattrRecord+name] = value
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if info.Mode().IsRegular() && st.Nlink > 1 {
		if linked := first[st.Ino]; linked != "" {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, linked, 0
		}
		first[st.Ino] = rel
	}
	if err := w.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	content, err := os.ReadFile(path)
	if err == nil {
		_, err = w.Write(content)
	}
	return err
}

// userXattrs reads the attributes of the user namespace of a file or directory.
func userXattrs(path string) map[string]string {
	out := map[string]string{}
	buf := make([]byte, 64<<10)
	n, _ := unix.Llistxattr(path, buf)
	for name := range strings.SplitSeq(string(buf[:max(n, 0)]), "\x00") {
		if strings.HasPrefix(name, "user.") {
			value := make([]byte, 64<<10)
			m, _ := unix.Lgetxattr(path, name, value)
			out[name] = string(value[:max(m, 0)])
		}
	}
	return out
}

// unpackTree is the inverse of packTree.
func unpackTree(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	must(t, err)
	defer f.Close()
	zip, err := gzip.NewReader(f)
	must(t, err)
	r := tar.NewReader(zip)
	var all []*tar.Header
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		must(t, unpackOne(r, h, filepath.Join(dir, h.Name), dir))
		all = append(all, h)
	}
	for i := len(all) - 1; i >= 0; i-- { // what is in a directory before it
		mtime := unix.NsecToTimespec(all[i].ModTime.UnixNano())
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, all[i].Name), []unix.Timespec{mtime, mtime}, unix.AT_SYMLINK_NOFOLLOW))
	}
}

func unpackOne(r io.Reader, h *tar.Header, path, dir string) error {
	switch h.Typeflag {
	case tar.TypeLink:
		return os.Link(filepath.Join(dir, h.Linkname), path)
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, path)
	case tar.TypeFifo:
		return unix.Mkfifo(path, uint32(h.Mode))
	case tar.TypeDir:
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
	case tar.TypeReg:
		content, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(path, content, 0o600)
		}
		if err != nil {
			return err
		}
	default:
		return errors.New(h.Name + ": type that packTree does not write")
	}
	for name, value := range h.PAXRecords {
		if attr, ok := strings.CutPrefix(name, xattrRecord); ok {
			if err := unix.Setxattr(path, attr, []byte(value), 0); err != nil {
				return err
			}
		}
	}
	return unix.Chmod(path, uint32(h.Mode)&0o7777)
}
