package fs

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// openWith opens the volume with the ledger in dir.
func (s *testStore) openWith(dir string, accept bool) *Offline {
	s.t.Helper()
	o, err := OpenVolume(context.Background(), OfflineOptions{Backing: s.dir, Keys: s.keys.Service(), LedgerDir: dir, AcceptStore: accept,
		Logger: slog.New(slog.NewTextHandler(&s.log, nil))})
	ok(s.t, err)
	return o
}

// A file that was never synced is empty after a power cut, and one that cannot be read may be repaired.
// A comparison that takes the store as it is must not call the directory whole then.
func TestWhatAComparisonCouldNotLearnIsNotRefusedLater(t *testing.T) {
	s := newTestStore(t, func(o *InitOptions) { o.PlaintextNames = true })
	dir := t.TempDir()
	o := s.openWith(dir, false)
	put(t, o, "/empty", "x")
	put(t, o, "/broken", "y")
	put(t, o, "/good", "z")
	o.fs.committer.finish()
	o.fs.letGo()
	o.fs.vol.close() // without a word
	broken := filepath.Join(s.dir, "broken")
	content, err := os.ReadFile(broken)
	ok(t, err)
	ok(t, os.Remove(filepath.Join(s.dir, "empty")), os.WriteFile(filepath.Join(s.dir, "empty"), nil, 0o644),
		os.WriteFile(broken, bytes.Repeat([]byte{7}, len(content)), 0o644))

	o = s.openWith(dir, true)
	_, err = o.CompareLedger(t.Context(), func(string, error) {})
	ok(t, err)
	s.close(o)
	ok(t, os.WriteFile(broken, content, 0o644))
	o = s.openWith(dir, false)
	for _, path := range []string{"/empty", "/broken", "/good"} {
		f, err := o.Open(path)
		ok(t, err)
		ok(t, f.Close())
	}
	s.close(o)
}

func TestErrorOfTheLedgerNamesTheFileOnce(t *testing.T) {
	s := newTestStore(t, func(o *InitOptions) { o.PlaintextNames = true })
	dir := t.TempDir()
	o := s.openWith(dir, false)
	put(t, o, "/f", "old")
	s.close(o)
	old, err := os.ReadFile(filepath.Join(s.dir, "f"))
	ok(t, err)
	o = s.openWith(dir, false)
	put(t, o, "/f", "newer")
	s.close(o)
	ok(t, os.WriteFile(filepath.Join(s.dir, "f"), old, 0o644))
	o = s.openWith(dir, false)
	defer s.close(o)
	if _, err := o.Open("/f"); err == nil || strings.Count(err.Error(), "/f") != 1 {
		t.Errorf("%v", err)
	}
}
