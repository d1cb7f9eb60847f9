package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/embedded/archive"
)

// Restore makes the state directory o.Dir of what [Backup] has written. There must be none
// yet: it is empty or doesn't exist, and is as before after an error. With o.Postgres, what
// the backup has of the keys' state goes to that database, which must be empty.
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
	parent := filepath.Dir(o.Dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, unreadable(parent, err)
	}
	made, err := os.MkdirTemp(parent, "."+filepath.Base(o.Dir)+".restoring-")
	if err != nil {
		return nil, unreadable(parent, err)
	}
	m, err := o.restore(ctx, made, r)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(made))
	}
	return m, nil
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

// refuseOccupied refuses a directory that has anything in it.
func (o *Options) refuseOccupied() error {
	entries, err := os.ReadDir(o.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return unreadable(o.Dir, err)
	case len(entries) > 0:
		return &Error{Kind: KindInvalid, Path: o.Dir, Err: errors.New("the directory is not empty"),
			Help: "move it away, or choose another one with --state-dir"}
	}
	return nil
}

// restore fills a directory and puts it in its place.
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
	if err := os.Remove(o.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, unreadable(o.Dir, err)
	}
	if err := os.Rename(made, o.Dir); err != nil {
		return nil, unreadable(o.Dir, err)
	}
	if err := syncDir(filepath.Dir(o.Dir)); err != nil {
		return nil, unreadable(o.Dir, err)
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
