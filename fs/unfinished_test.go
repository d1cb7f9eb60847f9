package fs

import (
	"errors"
	"log/slog"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// attachedForTest is an empty volume that is attached without a mount point. It has
// no key service: files cannot be made.
func attachedForTest(t *testing.T) *fileSystem {
	t.Helper()
	v := renamesVolume(t)
	v.info.PlaintextNames = true
	if err := v.root.Symlink(v.crypto.SealDir(envelope.DirID{}, "", envelope.NewDirID()), dirLink); err != nil {
		t.Fatal(err)
	}
	v.mounts = v.crypto.NewMounts()
	s, err := newFileSystem(v, &MountOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// owedForTest is a directory "plain" whose rename failed while the log took no more entries.
func owedForTest(t *testing.T) (*fileSystem, *backing.Dir) {
	t.Helper()
	s := attachedForTest(t)
	v := s.vol
	if err := v.root.Mkdir("plain", 0o700); err != nil {
		t.Fatal(err)
	}
	sub, err := v.root.OpenDir("plain")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sub.Close() })
	root := s.tree.root
	if err := sub.Symlink(v.crypto.SealDir(root.dirID, "plain", envelope.NewDirID()), dirLink); err != nil {
		t.Fatal(err)
	}
	m := s.moveForTest(t, "plain", "moved")
	var undo []func()
	if err := m.stageDirs(&undo); err != nil {
		t.Fatal(err)
	}
	s.renames.file.Close()
	for i := len(undo) - 1; i >= 0; i-- {
		undo[i]()
	}
	if s.renames.owed.Load() == nil {
		t.Fatal("nothing is owed")
	}
	return s, sub
}

// writableLog ends what owedForTest did to the log.
func (s *fileSystem) writableLog(t *testing.T) {
	t.Helper()
	var err error
	if s.renames.file, err = s.vol.root.Open(envelope.RenameLogFile, false); err != nil {
		t.Fatal(err)
	}
}

// The staged identity of a directory goes with it: what it says has to be in the log before.
func TestRemovalOfADirectoryPaysTheCancelThatIsOwed(t *testing.T) {
	s, sub := owedForTest(t)
	if err := s.rmdir(s.tree.root, "plain"); err == nil {
		t.Fatal("removed while the log takes no entries")
	}
	if _, err := sub.Readlink(dirLinkNew); err != nil {
		t.Fatalf("the staged identity: %v", err)
	}
	s.writableLog(t)
	if err := s.rmdir(s.tree.root, "plain"); err != nil {
		t.Fatal(err)
	}
	log := s.renames.log().Entries()
	if len(log) != 2 || !log[1].Cancel || log[1].New != "/moved" {
		t.Errorf("log %+v", log)
	}
}

// A rename that fails while the log takes no more entries is cancelled before the next entry, and its
// staged identity stays until then, so that a crash meanwhile is noticed by the next mount.
func TestCancelThatCannotBeWrittenIsOwed(t *testing.T) {
	s, sub := owedForTest(t)
	if _, err := sub.Readlink(dirLinkNew); err != nil {
		t.Fatalf("the staged identity: %v", err)
	}
	s.writableLog(t)
	root := s.tree.root
	if err := s.rename(t.Context(), root, "plain", root, "third", 0); err != nil {
		t.Fatal(err)
	}
	log := s.renames.log().Entries()
	if len(log) != 3 || !log[1].Cancel || log[1].New != "/moved" || log[2].New != "/third" {
		t.Errorf("log %+v", log)
	}
	if _, err := sub.Readlink(dirLinkNew); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("the staged identity stays: %v", err)
	}
	if was, ok := s.renames.pathAt("/third/f", 0, s.tree.seq); !ok || was != "/plain/f" {
		t.Errorf("a key below was wrapped as %q, %v", was, ok)
	}
}

// moveForTest begins a rename in the root.
func (s *fileSystem) moveForTest(t *testing.T, from, to string) *move {
	t.Helper()
	m := &move{s: s}
	var err error
	if m.from, err = s.place(s.tree.root, from); err == nil {
		m.fd, err = s.dir(s.tree.root)
	}
	if err == nil {
		m.src, err = s.inodeAt(m.fd, m.from)
	}
	if err == nil {
		m.to, m.td, _, err = s.newPlace(s.tree.root, to)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}
