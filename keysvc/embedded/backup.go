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

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/keysvc/api/certs"
	"github.com/kmsfs/kmsfs/keysvc/api/principals"
	"github.com/kmsfs/kmsfs/keysvc/embedded/archive"
	"github.com/kmsfs/kmsfs/keysvc/store/sqlite"
)

// A backup has what makes a state directory a key service: everything but the audit
// trail, logs and ledgers, which only grow or belong to this place, and but what is in
// another token or database.

// backedUp are the files and directories of a backup, if they are there.
var backedUp = []string{configFile, pinFile, clustersFile, principals.FileName, certs.DirName, tokenDir}

// stagePrefix begins the name of a directory in which a backup is put together.
const stagePrefix = "backup-"

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
	stage, done, err := o.stage(ctx, &config)
	if err != nil {
		return nil, err
	}
	defer done()
	m, err := archive.Write(w, stage, time.Now())
	if err != nil {
		return nil, &Error{Kind: KindUnreadable, Path: o.Dir, Err: err, Help: "is there room for the backup?"}
	}
	return m, nil
}

// stage copies what a backup has to a directory of its own, and removes that with done. No
// login is under way meanwhile, which rewrites the token's files, and no update, so that the
// token has the keys that the store names.
func (o *Options) stage(ctx context.Context, config *Config) (dir string, done func(), err error) {
	unlock, err := o.lock(ctx)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	o.removeStages()
	dir, done, err = o.makeStage(ctx)
	if err != nil {
		return "", nil, unreadable(o.Dir, err)
	}
	if err := o.fillStage(ctx, config, dir); err != nil {
		done()
		return "", nil, err
	}
	if err := checkComplete(dir); err != nil {
		done()
		return "", nil, &Error{Kind: KindDamaged, Path: o.Dir, Err: err, Help: "nothing was backed up: a backup without it could not be used"}
	}
	return dir, done, nil
}

// makeStage makes an empty directory and locks it. o.lock is held.
func (o *Options) makeStage(ctx context.Context) (dir string, done func(), err error) {
	dir, err = os.MkdirTemp(o.Dir, stagePrefix)
	if err != nil {
		return "", nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) } // else removeStages
	f, err := os.Open(dir)
	if err == nil {
		err = flock(ctx, f)
	}
	if err != nil {
		remove()
		return "", nil, errors.Join(err, f.Close())
	}
	return dir, func() { remove(); _ = f.Close() }, nil
}

// fillStage copies the files.
func (o *Options) fillStage(ctx context.Context, config *Config, stage string) error {
	copyAll := func() error { return o.copyFiles(stage) }
	if config.Store.shared() {
		return copyAll()
	}
	if _, err := os.Stat(o.path(storeFile)); err != nil {
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
		from, err := filepath.EvalSymlinks(o.path(name)) // the token may be on another device, for instance
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = copyTree(from, filepath.Join(stage, name))
		}
		if err != nil {
			return err
		}
	}
	return restoreTokenObjects(filepath.Join(stage, tokenDir))
}

// copyTree copies files, also those that symbolic links lead to, and directories, but for
// those that are being written under a temporary name.
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
		target := filepath.Join(to, name)
		if d.IsDir() {
			return os.Mkdir(target, 0o700)
		}
		return skipRemoved(copyFile(path, target))
	})
}

func copyFile(from, to string) error {
	if info, err := os.Stat(from); err != nil || !(info.Mode().IsRegular() || info.IsDir()) {
		return err // nothing, for a socket for instance; a directory can't be read below
	}
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

// removeStages removes what killed processes have left: what nobody has locked. o.lock is
// held.
func (o *Options) removeStages() {
	left, _ := fs.Glob(os.DirFS(o.Dir), stagePrefix+"*") // the pattern is right
	for _, name := range left {
		stage := o.path(name)
		f, err := os.OpenFile(stage, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(stage) // the next backup tries again
		}
		_ = f.Close()
	}
}
