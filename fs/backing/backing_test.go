package backing_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing"
)

func root(t *testing.T) (*backing.Dir, string) {
	t.Helper()
	path := t.TempDir()
	d, err := backing.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, what string, err error, no unix.Errno) {
	t.Helper()
	if !errors.Is(err, no) {
		t.Errorf("%s: got %v, want %v", what, err, no)
	}
}

func TestFileReadsBackWhatWasWrittenAtOffsets(t *testing.T) {
	d, _ := root(t)
	f, err := d.Create("f", 0o600)
	ok(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("world"), 5000)
	ok(t, err)
	_, err = f.WriteAt([]byte("hello"), 0)
	ok(t, err)
	ok(t, f.Sync())
	buf := make([]byte, 10)
	n, err := f.ReadAt(buf, 5000)
	if n != 5 || err != io.EOF || string(buf[:n]) != "world" {
		t.Errorf("read past the end: %d %v %q", n, err, buf[:n])
	}
	n, err = f.ReadAt(buf, 0)
	if n != 10 || err != nil || !bytes.Equal(buf, []byte("hello\x00\x00\x00\x00\x00")) {
		t.Errorf("read over a hole: %d %v %q", n, err, buf)
	}
	ok(t, f.Truncate(3))
	if size, err := f.Size(); size != 3 || err != nil {
		t.Errorf("size %d, %v", size, err)
	}
}

func TestSymbolicLinksInTheStoreAreNeverFollowed(t *testing.T) {
	d, path := root(t)
	outside := filepath.Join(t.TempDir(), "outside")
	ok(t, os.WriteFile(outside, []byte("x"), 0o600))
	ok(t, d.Symlink(outside, "link"))
	ok(t, d.Symlink(filepath.Dir(outside), "dirlink"))
	_, err := d.Open("link", false)
	want(t, "open", err, unix.ELOOP)
	_, err = d.OpenDir("dirlink")
	want(t, "open directory", err, unix.ENOTDIR)
	if err := d.Chmod("link", 0o777); err == nil {
		t.Log("the link's own mode was set")
	}
	ok(t, d.Utimens("link", unix.Timespec{Sec: 1}, unix.Timespec{Sec: 1}))
	st, err := os.Stat(outside)
	ok(t, err)
	if st.Mode().Perm() != 0o600 || st.ModTime().Unix() == 1 {
		t.Errorf("the target was changed through %s", path)
	}
}

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	d, _ := root(t)
	ok(t, d.Mknod("fifo", unix.S_IFIFO|0o600, 0))
	_, err := d.Open("fifo", true)
	want(t, "open a FIFO", err, unix.EINVAL)
	ok(t, d.Mkdir("dir", 0o700))
	if _, err := d.Open("dir", true); err == nil {
		t.Error("a directory was opened as a file")
	}
}

func TestCreateRefusesAnExistingName(t *testing.T) {
	d, _ := root(t)
	ok(t, d.Symlink("nowhere", "taken"))
	_, err := d.Create("taken", 0o600)
	want(t, "create", err, unix.EEXIST)
}

func TestListNamesEveryEntryOnce(t *testing.T) {
	d, _ := root(t)
	var names []string
	for i := range 1500 {
		name := string(rune('a'+i%26)) + string(bytes.Repeat([]byte{'x'}, i/26))
		f, err := d.Create(name, 0o600)
		ok(t, err)
		f.Close()
		names = append(names, name)
	}
	entries, err := d.List()
	ok(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name)
	}
	slices.Sort(names)
	slices.Sort(got)
	if !slices.Equal(names, got) {
		t.Errorf("listed %d names, made %d", len(got), len(names))
	}
}

func TestOperationsFollowADirectoryThatWasRenamed(t *testing.T) {
	d, path := root(t)
	ok(t, d.Mkdir("a", 0o700))
	sub, err := d.OpenDir("a")
	ok(t, err)
	defer sub.Close()
	ok(t, d.Rename("a", d, "b", 0))
	f, err := sub.Create("f", 0o600)
	ok(t, err)
	defer f.Close()
	_, err = os.Stat(filepath.Join(path, "b", "f"))
	ok(t, err)
	ok(t, sub.SetXattr("f", "user.k", []byte("v"), 0))
	var buf [8]byte
	n, err := f.GetXattr("user.k", buf[:])
	ok(t, err)
	if string(buf[:n]) != "v" {
		t.Errorf("attribute: %q", buf[:n])
	}
	names, err := sub.ListXattr("f")
	ok(t, err)
	if !slices.Contains(names, "user.k") {
		t.Errorf("attributes: %q", names)
	}
	ok(t, sub.RemoveXattr("f", "user.k"))
	_, err = f.GetXattr("user.k", buf[:])
	want(t, "removed attribute", err, unix.ENODATA)
}

func TestLockIsExclusive(t *testing.T) {
	d, _ := root(t)
	f, err := d.Create("f", 0o600)
	ok(t, err)
	defer f.Close()
	ok(t, f.Lock())
	again, err := d.Open("f", true)
	ok(t, err)
	defer again.Close()
	want(t, "second lock", again.Lock(), unix.EWOULDBLOCK)
}
