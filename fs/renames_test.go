package fs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

func renamesVolume(t *testing.T) *volume {
	t.Helper()
	v := testVolume(t, false)
	v.info.Backing = t.TempDir()
	root, err := backing.OpenRoot(v.info.Backing)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	v.root = root
	return v
}

func mustAppend(t *testing.T, v *volume, r *renames, from, to string) {
	t.Helper()
	if _, err := r.append(v.root, envelope.RenameEntry{Old: from, New: to}); err != nil {
		t.Fatal(err)
	}
}

func TestRenameLogIsReadBackAndGoesOnBehindATornEntry(t *testing.T) {
	v := renamesVolume(t)
	r, err := v.openRenames()
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, v, r, "/a", "/b")
	mustAppend(t, v, r, "/b", "/c")
	r.close()
	path := filepath.Join(v.info.Backing, envelope.RenameLogFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err = v.openRenames(); err != nil {
		t.Fatal(err)
	}
	if r.log().Seq() != 1 {
		t.Fatalf("sequence behind a torn entry: %d, want 1", r.log().Seq())
	}
	mustAppend(t, v, r, "/b", "/d")
	r.close()
	if r, err = v.openRenames(); err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if got, _ := r.pathAt("/d/x", 0, 2); got != "/a/x" {
		t.Errorf("/d/x was wrapped as %q, want /a/x", got)
	}
	if got, _ := r.pathAt("/d/x", 2, 2); got != "/d/x" {
		t.Errorf("a key wrapped now has path %q", got)
	}
}

func TestEditedRenameLogIsRefused(t *testing.T) {
	v := renamesVolume(t)
	r, err := v.openRenames()
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, v, r, "/a", "/b")
	mustAppend(t, v, r, "/b", "/c")
	r.close()
	path := filepath.Join(v.info.Backing, envelope.RenameLogFile)
	b, _ := os.ReadFile(path)
	b[20] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := v.openRenames(); kindOf(err) != KindBadVolume {
		t.Errorf("got %v", err)
	}
}

func TestLedgerKnowsNoRenameThatIsNotInTheStore(t *testing.T) {
	s := newTestStore(t, nil)
	s.ledgers = t.TempDir()
	s.sample()
	o := s.open(false)
	log := o.fs.renames.log()
	seq := log.Seq() + 1
	if _, err := log.Append(envelope.RenameEntry{Seq: seq, Old: "/d", New: "/e"}); err != nil { // as append does before it writes
		t.Fatal(err)
	}
	err := o.fs.recordLedger(o.fs.vol.root.SyncFS)
	ok(t, err, log.Undo(seq), o.fs.checkRenames()) // the write has failed
}
