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
	start := time.Now()
	if err := t.Token.GenerateKey(ctx, id, label); err != nil {
		return err
	}
	return flushTree(t.dir, start)
}

// DestroyKey returns once the key is gone from the device.
func (t durableToken) DestroyKey(ctx context.Context, id hsm.KeyID) error {
	start := time.Now()
	if err := t.Token.DestroyKey(ctx, id); err != nil {
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
