package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/store/sqlite"
	"github.com/kmsfs/kmsfs/keysvc/store/storetest"
)

func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, 0, func(t *testing.T) storetest.Open {
		path := filepath.Join(t.TempDir(), "keys.db")
		return func(t *testing.T) store.Store { return open(t, path) }
	})
}

func TestFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "keys ?#%.db"))
	if err := s.View(t.Context(), func(store.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 4 { // database, -wal, -shm, -generation
		t.Errorf("the directory has %v", entries)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", e.Name(), info.Mode(), err)
		}
	}
}

func TestReopeningKeepsStateAndGeneration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.db")
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), func(store.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	before := s.Generation()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s.Generation() == before {
		t.Error("a closed store still confirms what was cached")
	}
	if err := os.Remove(path + "-generation"); err != nil {
		t.Fatal(err)
	}
	if got := open(t, path).Generation(); got != before {
		t.Errorf("generation %d, want %d", got, before)
	}
}

// A process that dies between publishing a generation and committing leaves the
// word ahead of the database. Readers must then not trust their caches, and the
// next commit must bring both together.
func TestWordAheadOfDatabaseIsNeverTrusted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.db")
	s := open(t, path)
	var state uint64
	read := func(tx store.Tx) error { state = tx.Generation(); return nil }
	if err := s.View(t.Context(), read); err != nil {
		t.Fatal(err)
	}
	word := make([]byte, 8)
	word[0] = byte(state + 1)
	if err := os.WriteFile(path+"-generation", word, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), read); err != nil {
		t.Fatal(err)
	}
	if s.Generation() == state {
		t.Fatal("the store confirms a state that may be stale")
	}
	if err := s.Update(t.Context(), func(store.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), read); err != nil {
		t.Fatal(err)
	}
	if s.Generation() != state {
		t.Fatalf("after a commit the word is %d and the state %d", s.Generation(), state)
	}
}

func TestDamagedDatabaseIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.db")
	if err := os.WriteFile(path, []byte("this is no database, but long enough to be taken for one, perhaps"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := sqlite.Open(t.Context(), path); err == nil {
		t.Fatal("opened", s)
	}
}

func BenchmarkGeneration(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "keys.db"))
	for b.Loop() {
		s.Generation()
	}
}

func BenchmarkReload(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "keys.db"))
	for b.Loop() {
		err := s.View(b.Context(), func(tx store.Tx) error {
			_, _ = tx.Key(b.Context(), store.Scope{}, "none")
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func TestTransactionWhoseContextEndsSaysSo(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "keys.db"))
	for name, run := range map[string]func(context.Context, func(store.Tx) error) error{"View": s.View, "Update": s.Update} {
		ctx, cancel := context.WithCancel(t.Context())
		err := run(ctx, func(tx store.Tx) error {
			cancel()
			time.Sleep(10 * time.Millisecond) // the transaction is rolled back meanwhile
			_, err := tx.KeyIDs(context.WithoutCancel(ctx), store.Scope{}, "", 1)
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The end of the context lets updates go on, so that the copies may not be of one moment.
func TestSnapshotWhoseContextEndsIsNone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "keys.db"))
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Snapshot(ctx, filepath.Join(dir, "copy.db"), func() error {
		cancel()
		return s.Update(t.Context(), func(store.Tx) error { return nil })
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
