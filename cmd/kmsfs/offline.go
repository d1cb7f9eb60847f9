package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/kmsfs/kmsfs/fs"
)

// offlineVolumes are the volumes that one command works on without a mount, by backing directory.
type offlineVolumes struct {
	app  *app
	keys *openedKeys
	open map[string]*fs.Offline
}

// withVolumes runs f with volumes that are closed afterwards: what could not be written is an error.
func (a *app) withVolumes(ctx context.Context, f func(*offlineVolumes) error) error {
	if err := harden(); err != nil {
		return err
	}
	keys, err := a.openKeys(ctx, firstUse{})
	if err != nil {
		return err
	}
	v := &offlineVolumes{app: a, keys: keys, open: map[string]*fs.Offline{}}
	err = f(v)
	closed := v.close()
	if quiet := new(silentError); closed != nil && errors.As(err, &quiet) {
		a.ui.Fail(closed) // err says nothing any more
	}
	return errors.Join(err, closed)
}

func (v *offlineVolumes) close() error {
	var errs []error
	for backing, o := range v.open {
		errs = append(errs, wrapf(o.Close(), "close volume %s", backing))
	}
	return errors.Join(append(errs, v.keys.Close())...)
}

// volume opens the volume in backing, or returns it when it is open already: the first use decides
// whether it can be written to.
func (v *offlineVolumes) volume(ctx context.Context, backing string, readOnly bool) (*fs.Offline, error) {
	real, err := filepath.EvalSymlinks(backing)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return nil, err
	}
	if o := v.open[real]; o != nil {
		return o, nil
	}
	o, err := fs.OpenVolume(ctx, fs.OfflineOptions{Backing: real, Keys: v.keys.Service(), ReadOnly: readOnly, LedgerDir: v.app.ledgerDir(false)})
	if err != nil {
		return nil, whereMounted(err, real)
	}
	v.open[real] = o
	return o, nil
}

// whereMounted tells of a volume in use at which mount point its files can be had.
func whereMounted(err error, backing string) error {
	var locked *fs.Error
	if !errors.As(err, &locked) || locked.Kind != fs.KindLocked {
		return err
	}
	for _, m := range allMounts() {
		if m.fsType == fuseType && sameDirectory(m.source, backing) {
			return &appError{err: err, hints: []string{
				"it is mounted at " + m.mountpoint + ": use the files there, or unmount it first: kmsfs umount " + m.mountpoint}}
		}
	}
	return err
}

func sameDirectory(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
