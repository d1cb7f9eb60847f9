package copytree

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs"
)

func TestStreamFillsHolesAndGoesForwardOnly(t *testing.T) {
	var out bytes.Buffer
	s := &Stream{Out: &out}
	if _, err := s.WriteAt([]byte("ab"), 3); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Truncate(100_000), s.Commit(fs.Meta{})); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 100_000)
	copy(want[3:], "ab")
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%d bytes, not those that were written", out.Len())
	}
	if _, err := s.WriteAt([]byte("x"), 5); err == nil {
		t.Error("it went back")
	}
}

// failingSource is a file of which the second block cannot be read.
type failingSource struct{}

var errBad = errors.New("bad block")

func (failingSource) Size() int64  { return 2 * blockSize }
func (failingSource) Close() error { return nil }
func (failingSource) NextData(off int64) (start, end int64, err error) {
	return off, 2 * blockSize, nil
}
func (failingSource) ReadAt(p []byte, off int64) (int, error) {
	if off >= blockSize {
		return 0, errBad
	}
	return len(p), nil
}

// failingTree opens failingSource whatever it is asked for.
type failingTree struct{ Local }

func (failingTree) Open(string) (Source, error) { return failingSource{}, nil }

func TestFailedCopyLeavesWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	for _, name := range []string{src, dst} {
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var failed []error
	c := &Copier{From: failingTree{}, To: Local{}, Failed: func(err error) { failed = append(failed, err) }, Copied: func(int, int64) {}}
	c.Copy(t.Context(), src, dst)
	if len(failed) != 1 || !errors.Is(failed[0], errBad) {
		t.Errorf("%v, want %v", failed, errBad)
	}
	if got, err := os.ReadFile(dst); err != nil || string(got) != dst {
		t.Errorf("%q, %v", got, err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 2 {
		t.Errorf("left behind: %v", names)
	}
}

func TestCopyStopsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	failures := 0
	c := &Copier{From: Local{}, To: Local{}, Recursive: true, Failed: func(error) { failures++ }, Copied: func(int, int64) {}}
	c.Copy(ctx, filepath.Join(dir, "a"), filepath.Join(dir, "c"))
	if _, err := os.Stat(filepath.Join(dir, "c")); err == nil || failures != 1 {
		t.Errorf("%d failures, %v", failures, err)
	}
}

func TestLocalCopyKeepsHolesModeTimesAndAttributes(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	f, err := os.Create(src)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("data"), 8<<20)
	at := unix.Timespec{Sec: 1_000_000_000, Nsec: 5}
	if err := errors.Join(err, f.Truncate(32<<20), f.Chmod(0o640), f.Close(), unix.Setxattr(src, "user.k", []byte("v"), 0),
		unix.UtimesNanoAt(unix.AT_FDCWD, src, []unix.Timespec{at, at}, 0)); err != nil {
		t.Fatal(err)
	}
	c := &Copier{From: Local{}, To: Local{}, Preserve: true, Failed: func(err error) { t.Error(err) }, Copied: func(int, int64) {}}
	c.Copy(t.Context(), src, dst)
	var st unix.Stat_t
	if err := unix.Stat(dst, &st); err != nil || st.Blocks*512 > 1<<20 || st.Size != 32<<20 || st.Mtim != at || st.Mode&0o7777 != 0o640 {
		t.Errorf("%+v, %v", st, err)
	}
	got, err := os.Open(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	b := make([]byte, 4)
	if _, err := got.ReadAt(b, 8<<20); err != nil && err != io.EOF || string(b) != "data" {
		t.Errorf("%q, %v", b, err)
	}
	if x, err := (Local{}).Xattrs(dst); err != nil || string(x["user.k"]) != "v" {
		t.Errorf("%v, %v", x, err)
	}
}
