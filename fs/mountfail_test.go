package fs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kmsfs/kmsfs/envelope"
)

// descriptors counts the open files of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestVolumeWhoseRenameLogWasRolledBackIsClosedAgain(t *testing.T) {
	s := newTestStore(t, nil)
	s.ledgers = t.TempDir()
	path := filepath.Join(s.dir, envelope.RenameLogFile)
	var log []byte
	for _, names := range [][2]string{{"a", "b"}, {"b", "c"}} {
		o := s.open(false)
		if names[0] == "a" {
			if err := o.Mkdir("/a", 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.fs.rename(t.Context(), o.fs.tree.root, names[0], o.fs.tree.root, names[1], 0); err != nil {
			t.Fatal(err)
		}
		s.close(o)
		if log == nil {
			log, _ = os.ReadFile(path)
		}
	}
	if err := os.WriteFile(path, log, 0o600); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	for range 3 {
		if _, err := s.tryOpen(false); kindOf(err) != KindRolledBack {
			t.Fatalf("opened with an old rename log: %v", err)
		}
	}
	if now := descriptors(t); now != before {
		t.Errorf("%d open files after three attempts, %d before", now, before)
	}
}
