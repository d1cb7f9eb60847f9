package sharedword

import (
	"os"
	"path/filepath"
	"testing"
)

func open(t testing.TB, path string) *Word {
	t.Helper()
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestEveryMappingSeesWhatIsStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "word")
	a, b := open(t, path), open(t, path)
	if a.Load() != 0 {
		t.Errorf("a new word is %d", a.Load())
	}
	if err := a.Store(1 << 60); err != nil {
		t.Fatal(err)
	}
	if b.Load() != 1<<60 || open(t, path).Load() != 1<<60 {
		t.Errorf("another mapping sees %d", b.Load())
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestShortFileCountsAsNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "word")
	if err := os.WriteFile(path, []byte{1, 0, 0}, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(t, path).Load(); got != 0 {
		t.Errorf("the word is %d", got)
	}
}

func TestFileThatCannotBeMadeIsAnError(t *testing.T) {
	if w, err := Open(filepath.Join(t.TempDir(), "none", "word")); err == nil {
		t.Errorf("opened %v", w)
	}
}
