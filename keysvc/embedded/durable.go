package embedded

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
)

// durableToken is a token in files whose module does not flush them: SoftHSM leaves that to the
// operating system, and a power loss seconds after a key was made would cost the key and all that
// it has wrapped meanwhile.
type durableToken struct {
	hsm.Token
	dir string
}

// GenerateKey returns once the key is on the device.
func (t durableToken) GenerateKey(ctx context.Context, id hsm.KeyID, label string) error {
	return t.flushed(func() error { return t.Token.GenerateKey(ctx, id, label) })
}

// GenerateKeyPair returns once both halves are on the device.
func (t durableToken) GenerateKeyPair(ctx context.Context, id hsm.KeyID, typ hsm.KeyType, purpose hsm.Purpose, label string) error {
	return t.flushed(func() error { return t.Token.GenerateKeyPair(ctx, id, typ, purpose, label) })
}

// GenerateMACKey returns once the key is on the device.
func (t durableToken) GenerateMACKey(ctx context.Context, id hsm.KeyID, typ hsm.KeyType, label string) error {
	return t.flushed(func() error { return t.Token.GenerateMACKey(ctx, id, typ, label) })
}

// ImportKey returns once the key is on the device.
func (t durableToken) ImportKey(ctx context.Context, id hsm.KeyID, wrapped hsm.WrappedKey, label string) error {
	return t.flushed(func() error { return t.Token.ImportKey(ctx, id, wrapped, label) })
}

// DestroyKey returns once the key is gone from the device.
func (t durableToken) DestroyKey(ctx context.Context, id hsm.KeyID) error {
	return t.flushed(func() error { return t.Token.DestroyKey(ctx, id) })
}

// flushed runs change and flushes what it has written.
func (t durableToken) flushed(change func() error) error {
	start := time.Now()
	if err := change(); err != nil {
		return err
	}
	return flushTree(t.dir, start)
}

// clockSlack is how far the times of files may lag behind the clock.
const clockSlack = time.Second

// flushTree flushes all directories below dir and the files that were changed since.
func flushTree(dir string, since time.Time) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return skipRemoved(err)
		}
		info, err := d.Info()
		if err != nil {
			return skipRemoved(err)
		}
		if !d.IsDir() && info.ModTime().Before(since.Add(-clockSlack)) {
			return nil
		}
		return skipRemoved(flush(path))
	})
}

// skipRemoved passes over what another process has removed meanwhile.
func skipRemoved(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
