package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/embedded/archive"
)

// Restore makes the state directory o.Dir of what [Backup] has written. There must be none
// yet: it is empty, perhaps a mount point, or doesn't exist, and is as before after an error.
// With o.Postgres, what the backup has of the keys' state goes to that database, which must be
// empty.
func Restore(ctx context.Context, o Options, r io.Reader) (*archive.Manifest, error) {
	if _, err := o.complete(); err != nil {
		return nil, err
	}
	if err := o.followLinks(); err != nil {
		return nil, err
	}
	if err := o.refuseOccupied(); err != nil {
		return nil, err
	}
	made, place, err := o.site(ctx)
	if err != nil {
		return nil, err
	}
	m, err := o.restore(ctx, made, r)
	if err == nil {
		err = place()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(made))
	}
	return m, nil
}

// restoringName begins the name of a directory that isn't in its place yet.
const restoringName = ".restoring-"

// site makes a directory to restore to, and place puts it where it belongs: a new state
// directory is renamed as a whole; what is restored to one that exists moves into it, as it
// may be a mount point, or its user may write nowhere else.
func (o *Options) site(ctx context.Context) (made string, place func() error, err error) {
	if _, err := os.Stat(o.Dir); err == nil {
		made, err = os.MkdirTemp(o.Dir, restoringName)
		if err != nil {
			return "", nil, unreadable(o.Dir, err)
		}
		return made, func() error { return o.moveIn(ctx, made) }, nil
	}
	parent := filepath.Dir(o.Dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", nil, unreadable(parent, err)
	}
	made, err = os.MkdirTemp(parent, "."+filepath.Base(o.Dir)+restoringName)
	if err != nil {
		return "", nil, unreadable(parent, err)
	}
	return made, func() error {
		if err := errors.Join(os.Rename(made, o.Dir), syncDir(parent)); err != nil {
			return unreadable(o.Dir, err)
		}
		return nil
	}, nil
}

// moveIn moves what was restored into the state directory, the configuration last: a crash
// leaves a directory that is refused.
func (o *Options) moveIn(ctx context.Context, made string) error {
	unlock, err := o.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := o.refuseOccupied(filepath.Base(made)); err != nil {
		return err // somebody else was faster
	}
	entries, err := os.ReadDir(made)
	if err != nil {
		return unreadable(made, err)
	}
	names := []string{storeFile} // first, as with keys a directory isn't taken for a new one
	for _, e := range entries {
		if name := e.Name(); name != storeFile && name != configFile {
			names = append(names, name)
		}
	}
	for i, name := range append(names, configFile) {
		err := os.Rename(filepath.Join(made, name), o.path(name))
		if errors.Is(err, fs.ErrNotExist) && name == storeFile {
			continue // it is in a database
		}
		if err = errors.Join(err, syncDir(o.Dir)); err != nil {
			for _, moved := range names[:i] {
				err = errors.Join(err, os.RemoveAll(o.path(moved)))
			}
			return unreadable(o.Dir, err)
		}
	}
	if err := errors.Join(os.Remove(made), syncDir(o.Dir)); err != nil {
		return unreadable(o.Dir, err)
	}
	return nil
}

// followLinks makes o.Dir the place that symbolic links lead to, so that they stay and what
// is secret gets to the device that they name.
func (o *Options) followLinks() error {
	dir, err := filepath.EvalSymlinks(o.Dir)
	if err == nil {
		o.Dir = dir
		return nil
	}
	if _, err := os.Lstat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return unreadable(o.Dir, err)
}

// refuseOccupied refuses a directory that has anything in it, but for what is named, the lock,
// and what a filesystem begins with.
func (o *Options) refuseOccupied(but ...string) error {
	but = append(but, lockFile, "lost+found")
	entries, err := os.ReadDir(o.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return unreadable(o.Dir, err)
	case slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !slices.Contains(but, e.Name()) }):
		return &Error{Kind: KindInvalid, Path: o.Dir, Err: errors.New("the directory is not empty"),
			Help: "move it away, or choose another one with --state-dir"}
	}
	return nil
}

// restore fills a directory.
func (o *Options) restore(ctx context.Context, made string, r io.Reader) (*archive.Manifest, error) {
	m, err := archive.Extract(r, made)
	if err == nil {
		if err = checkComplete(made); err != nil {
			err = fmt.Errorf("%w: %w", archive.ErrDamaged, err)
		}
	}
	if err == nil && o.Postgres != "" {
		err = o.moveStore(ctx, made)
	}
	if err == nil {
		err = flushTree(made, time.Time{})
	}
	var own *Error
	switch {
	case errors.As(err, &own):
		return nil, err
	case errors.Is(err, archive.ErrDamaged):
		return nil, &Error{Kind: KindDamaged, Err: err, Help: "use another backup; nothing was restored"}
	case err != nil:
		return nil, &Error{Kind: KindUnreadable, Path: o.Dir, Err: err, Help: "nothing was restored"}
	}
	return m, nil
}

// checkComplete makes sure that a directory has a configuration and what it asks for.
func checkComplete(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, configFile))
	if err != nil {
		return err
	}
	config, err := ParseConfig(text)
	if err != nil {
		return err
	}
	if config.Token.own() && len(tokenObjects(filepath.Join(dir, tokenDir))) == 0 {
		return errors.New("the keys in " + tokenDir + " are missing")
	}
	if config.Store.shared() {
		return nil
	}
	_, err = os.Lstat(filepath.Join(dir, storeFile))
	return err
}
