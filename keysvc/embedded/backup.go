package embedded

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/embedded/archive"
	"github.com/kmsfs/kmsfs/keysvc/store/sqlite"
)

// A backup has what makes a state directory a key service: everything but the audit
// trail, logs and ledgers, which only grow or belong to this place, and but what is in
// another token or database.

// backedUp are the files and directories of a backup, if they are there.
var backedUp = []string{configFile, pinFile, clustersFile, "principals.json", "tls", tokenDir}

// stagePrefix begins the name of a directory in which a backup is put together.
const stagePrefix = "backup-"

// stageAge is how old such a directory is when whoever made it was killed.
const stageAge = 24 * time.Hour

// Backup writes an archive of the state directory as it is at one moment, also while
// other processes use it: their changes to keys wait until the files are copied, which
// doesn't depend on how fast w is. It needs no PIN.
//
// What it writes is as secret as the directory.
func Backup(ctx context.Context, o Options, w io.Writer) (*archive.Manifest, error) {
	o.CreateIfMissing = false
	if _, err := o.complete(); err != nil {
		return nil, err
	}
	config, err := o.load(ctx)
	if err != nil {
		return nil, err
	}
	o.removeStages()
	stage, err := os.MkdirTemp(o.Dir, stagePrefix)
	if err != nil {
		return nil, unreadable(o.Dir, err)
	}
	defer func() { _ = os.RemoveAll(stage) }() // else removeStages
	if err := o.fillStage(ctx, &config, stage); err != nil {
		return nil, err
	}
	m, err := archive.Write(w, stage, time.Now())
	if err != nil {
		return nil, &Error{Kind: KindUnreadable, Path: o.Dir, Err: err, Help: "is there room for the backup?"}
	}
	return m, nil
}

// fillStage copies the files. No login is under way meanwhile, which rewrites the
// token's files, and no update, so that the token has the keys that the store names.
func (o *Options) fillStage(ctx context.Context, config *Config, stage string) error {
	unlock, err := o.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	copyAll := func() error { return o.copyFiles(stage) }
	if config.Store.shared() {
		return copyAll()
	}
	if _, err := os.Lstat(o.path(storeFile)); err != nil {
		return unreadable(o.path(storeFile), err)
	}
	s, err := sqlite.Open(ctx, o.path(storeFile))
	if err == nil {
		err = errors.Join(s.Snapshot(ctx, filepath.Join(stage, storeFile), copyAll), s.Close())
	}
	if err != nil {
		return &Error{Kind: KindStore, Path: o.Dir, Err: err, Help: "is there room for a copy in the directory?"}
	}
	return nil
}

// copyFiles copies what a backup has beside the store.
func (o *Options) copyFiles(stage string) error {
	for _, name := range backedUp {
		err := copyTree(o.path(name), filepath.Join(stage, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return restoreTokenObjects(filepath.Join(stage, tokenDir))
}

// copyTree copies regular files and directories, but for those that are being written
// under a temporary name.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != from && strings.HasPrefix(d.Name(), "."):
			return nil
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch target := filepath.Join(to, name); {
		case d.IsDir():
			return os.Mkdir(target, 0o700)
		case d.Type().IsRegular():
			return skipRemoved(copyFile(path, target))
		}
		return nil
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// removeStages removes what killed processes have left.
func (o *Options) removeStages() {
	left, _ := filepath.Glob(o.path(stagePrefix + "*")) // a pattern in the directory's name finds nothing
	for _, stage := range left {
		if info, err := os.Lstat(stage); err == nil && info.IsDir() && time.Since(info.ModTime()) > stageAge {
			_ = os.RemoveAll(stage) // the next backup tries again
		}
	}
}
