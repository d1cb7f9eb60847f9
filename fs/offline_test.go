package fs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/kmsfs/kmsfs/keysvc/embedded"
)

// testStore is a volume on a real key service with a real token.
type testStore struct {
	t    *testing.T
	dir  string
	keys *embedded.Embedded
	key  string // id of the volume's CMK
	log  bytes.Buffer

	ledgers string // directory of ledgers; "": none
}

func newTestStore(t *testing.T, change func(*InitOptions)) *testStore {
	t.Helper()
	dir := t.TempDir()
	keys, err := embedded.Open(t.Context(), embedded.Options{Dir: filepath.Join(dir, "state"), CreateIfMissing: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	key, err := keys.Service().CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	s := &testStore{t: t, dir: filepath.Join(dir, "back"), keys: keys, key: *key.KeyMetadata.KeyId}
	o := InitOptions{Backing: s.dir, Keys: keys.Service(), KeyID: s.key}
	if change != nil {
		change(&o)
	}
	if _, err := InitVolume(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens the volume offline until the test ends or closes it.
func (s *testStore) open(readOnly bool) *Offline {
	s.t.Helper()
	o, err := s.tryOpen(readOnly)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { o.Close() })
	return o
}

func (s *testStore) tryOpen(readOnly bool) (*Offline, error) {
	log := slog.New(slog.NewTextHandler(&s.log, nil))
	return OpenVolume(context.Background(), OfflineOptions{Backing: s.dir, Keys: s.keys.Service(), ReadOnly: readOnly, Logger: log, LedgerDir: s.ledgers})
}

func (s *testStore) close(o *Offline) {
	s.t.Helper()
	if err := o.Close(); err != nil {
		s.t.Fatal(err)
	}
}

func TestOneOfflineWriterOrManyReaders(t *testing.T) {
	s := newTestStore(t, nil)
	w := s.open(false)
	for _, readOnly := range []bool{true, false} {
		if _, err := s.tryOpen(readOnly); kindOf(err) != KindLocked {
			t.Errorf("beside a writer, read-only %v: %v, want KindLocked", readOnly, err)
		}
	}
	s.close(w)
	s.open(true)
	s.open(true)
	if _, err := s.tryOpen(false); kindOf(err) != KindLocked {
		t.Errorf("a writer beside readers: %v, want KindLocked", err)
	}
}

func TestOfflineReaderChangesNothingAndWriterEndsCleanly(t *testing.T) {
	s := newTestStore(t, nil)
	before, err := os.ReadFile(filepath.Join(s.dir, "kmsfs.mounts"))
	if err != nil {
		t.Fatal(err)
	}
	s.close(s.open(true))
	after, err := os.ReadFile(filepath.Join(s.dir, "kmsfs.mounts"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("mount states changed by a reader: %v", err)
	}
	s.close(s.open(false))
	r := s.open(true)
	if r.fs.vol.mounts.AnyUnclean() || r.fs.vol.mounts.Current() != 0 {
		t.Error("an offline writer that was closed is not on record as a clean mount")
	}
}

func TestOpenVolumeTellsWhatIsNoVolume(t *testing.T) {
	_, err := OpenVolume(t.Context(), OfflineOptions{Backing: t.TempDir()})
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindNotVolume || e.Hint() == "" {
		t.Errorf("%v, want KindNotVolume with a hint", err)
	}
}
