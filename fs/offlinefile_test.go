package fs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// put writes a file offline.
func put(t *testing.T, o *Offline, path, content string) {
	t.Helper()
	f, err := o.Create(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(Meta{}); err != nil {
		t.Fatal(err)
	}
}

// content reads a file offline.
func content(t *testing.T, o *Offline, path string) string {
	t.Helper()
	f, err := o.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, f.Size())
	if n, err := f.ReadAt(b, 0); err != nil || n != len(b) {
		t.Fatalf("%s: %d of %d bytes, %v", path, n, len(b), err)
	}
	return string(b)
}

func ok(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsWrittenOfflineIsThereAtTheNextOpen(t *testing.T) {
	s := newTestStore(t, nil)
	long := "/d/" + strings.Repeat("ü", 127)
	big := strings.Repeat("0123456789abcdef", 1<<16)
	o := s.open(false)
	ok(t, o.Mkdir("/d", 0o750), o.Symlink("d/f", "/l"), o.Mknod("/d/fifo", unix.S_IFIFO|0o600, 0))
	put(t, o, "/d/f", "content")
	put(t, o, long, big)
	mtime := unix.Timespec{Sec: 1234567890, Nsec: 42}
	mode := uint32(0o4711)
	ok(t, o.SetMeta("/d/f", Meta{Mode: &mode, Mtime: &mtime}), o.SetXattr("/d/f", "user.a", []byte("value")), o.SetXattr("/d", "user.b", nil))
	s.close(o)

	o = s.open(true)
	if got := content(t, o, "/l"); got != "content" {
		t.Errorf("through a symbolic link: %q", got)
	}
	if content(t, o, long) != big {
		t.Error("the large file differs")
	}
	a, err := o.Stat("/d/f")
	if err != nil || a.Mode != unix.S_IFREG|mode || a.Mtime != mtime || a.Size != 7 {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := o.Lstat("/l"); err != nil || a.Target != "d/f" || a.Size != 3 {
		t.Errorf("%+v, %v", a, err)
	}
	x, err := o.Xattrs("/d/f")
	if err != nil || !reflect.DeepEqual(x, map[string][]byte{"user.a": []byte("value")}) {
		t.Errorf("attributes %v, %v", x, err)
	}
	names, err := o.ReadDir("/d")
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"f", "fifo", long[3:]}) {
		t.Errorf("names %q, %v", names, err)
	}
}

func TestFileReplacedOfflineIsOldUntilCommitAndItsLinksStay(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample() // /d/new/file and /d/link are one file
	o := s.open(false)
	f, err := o.Create("/d/link", 0o644)
	ok(t, err)
	_, err = f.WriteAt([]byte("never"), 0)
	ok(t, err)
	f.Abort()
	if got := content(t, o, "/d/link"); got != "content" {
		t.Errorf("after an abort: %q", got)
	}
	put(t, o, "/d/link", "replaced")
	if content(t, o, "/d/link") != "replaced" || content(t, o, "/d/new/file") != "content" {
		t.Error("the link is not replaced, or its other name is")
	}
	s.close(o)
	o = s.open(true)
	if content(t, o, "/d/link") != "replaced" || content(t, o, "/d/new/file") != "content" {
		t.Error("after the next open: the link is not replaced, or its other name is")
	}
	for key, obj := range walkAll(t, o) {
		if obj.Class == ObjectTemporary {
			t.Errorf("left behind: %s", key)
		}
	}
}

func TestHolesAreKeptAndTold(t *testing.T) {
	s := newTestStore(t, nil)
	o := s.open(false)
	f, err := o.Create("/sparse", 0o600)
	ok(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{7}, 8192), 1<<20)
	ok(t, err)
	ok(t, f.Truncate(3<<20), f.Commit(Meta{}))
	r, err := o.Open("/sparse")
	ok(t, err)
	defer r.Close()
	start, end, err := r.NextData(0)
	if err != nil || start != 1<<20 || end != 1<<20+8192 {
		t.Errorf("data from %d to %d, %v", start, end, err)
	}
	if start, _, err = r.NextData(end); err != nil || start != r.Size() {
		t.Errorf("after the data: %d, %v", start, err)
	}
}

func TestPathsOfflineFollowLinksInsideTheVolumeOnly(t *testing.T) {
	s := newTestStore(t, nil)
	o := s.open(false)
	ok(t, o.Mkdir("/a", 0o755), o.Mkdir("/a/b", 0o755), o.Symlink("../a/b/./..", "/a/back"),
		o.Symlink("/etc/passwd", "/abs"), o.Symlink("../x", "/above"), o.Symlink("loop", "/loop"))
	put(t, o, "/a/f", "x")
	for path, want := range map[string]error{
		"/a/back/f": nil, "/a/b/../f": nil, "//a//f": nil, "/abs": errOutside, "/above": errOutside,
		"/../a/f": errOutside, "/loop": syscall.ELOOP, "/a/f/": syscall.ENOTDIR, "/a/f/g": syscall.ENOTDIR,
		"/a/g": syscall.ENOENT,
	} {
		if _, err := o.Stat(path); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if a, err := o.Stat("/a/back/f"); err != nil || a.Path != "/a/f" {
		t.Errorf("%q, %v", a.Path, err)
	}
	if n := len(o.fs.tree.byID); n != 1 {
		t.Errorf("%d inodes stay known", n)
	}
}

func TestOfflineAccessAsksTheKeyServiceForEachOpen(t *testing.T) {
	s := newTestStore(t, nil)
	o := s.open(false)
	put(t, o, "/f", "content")
	_, err := s.keys.Service().DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &s.key})
	ok(t, err)
	if _, err := o.Open("/f"); kindOf(err) != KindKeyDisabled {
		t.Errorf("open: %v", err)
	}
	if _, err := o.Create("/g", 0o600); kindOf(err) != KindKeyDisabled {
		t.Errorf("create: %v", err)
	}
	if a, err := o.Stat("/f"); err != nil || a.Size != 7 {
		t.Errorf("stat needs no key: %+v, %v", a, err)
	}
}

func TestDamagedContentOfflineIsAnErrorOfItsOwnKind(t *testing.T) {
	s := newTestStore(t, nil)
	o := s.open(false)
	put(t, o, "/f", strings.Repeat("x", 100_000))
	s.close(o)
	o = s.open(true)
	flip(t, filepath.Join(s.dir, walkAll(t, o)["/f"].Store), 20*envelope.PageSize)
	f, err := o.Open("/f")
	ok(t, err)
	defer f.Close()
	if _, err := f.ReadAt(make([]byte, 100_000), 0); kindOf(err) != KindDamaged || errnoOf(err) != syscall.EIO {
		t.Errorf("%v, want KindDamaged", err)
	}
}

// flip changes one bit of a file.
func flip(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	ok(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	ok(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], off)
	ok(t, err)
}
