package sharedword

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// fullDevice mounts a small filesystem and fills it.
func fullDevice(t *testing.T) (dir string, empty func()) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	return dir, func() {
		if err := os.Remove(fill); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWordOnAFullDeviceIsAnErrorAndNoCrash(t *testing.T) {
	dir, empty := fullDevice(t)
	path := filepath.Join(dir, "word")
	if w, err := Open(path); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("%v, %v", w, err)
	}
	empty()
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Store(7); err != nil || w.Load() != 7 {
		t.Errorf("%d, %v", w.Load(), err)
	}
}
