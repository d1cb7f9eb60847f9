package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/pkcs11"
)

// openToken gets the PIN and logs in. Processes do so one after the other:
// SoftHSM rewrites the token's state at a login, and a login in another process
// that reads it at that moment would find no PIN set.
func (o *Options) openToken(ctx context.Context, config Config) (hsm.Token, error) {
	source, err := parsePINSource(orElse(o.PINSource, config.PINSource))
	if err != nil {
		return nil, &Error{Kind: KindInvalid, Err: err}
	}
	pin := o.made
	if pin == nil {
		if pin, err = o.readPIN(ctx, source); err != nil {
			return nil, err
		}
		defer clear(pin)
	}
	unlock, err := o.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c := pkcs11.Config{
		Module: config.Token.Module, TokenLabel: config.Token.Label, URI: config.Token.URI,
		PIN: pin, Logger: o.Logger,
	}
	if config.Token.own() {
		if err := o.relocate(); err != nil {
			return nil, err
		}
		if err := restoreTokenObjects(o.path(tokenDir)); err != nil {
			return nil, err
		}
		c.SoftHSMConf = pkcs11.SoftHSMConf(o.path(tokenDir))
	}
	start := time.Now()
	token, err := pkcs11.Open(ctx, c)
	if err != nil {
		return nil, o.tokenError(err, config)
	}
	if !config.Token.own() {
		return token, nil
	}
	if o.made != nil {
		start = time.Time{} // the whole token is new
	}
	dir := o.path(tokenDir)
	if err := saveTokenObjects(dir); err != nil {
		return nil, errors.Join(err, token.Close())
	}
	if err := flushTree(dir, start); err != nil {
		return nil, errors.Join(unreadable(dir, err), token.Close())
	}
	return durableToken{token, dir}, nil
}

// relocate corrects SoftHSM's configuration, which holds an absolute path, after
// the state directory was moved or restored elsewhere. Otherwise the keys would
// be looked for, and perhaps found, at the old place.
func (o *Options) relocate() error {
	path := pkcs11.SoftHSMConf(o.path(tokenDir))
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // opening the token says what is wrong
	}
	if err != nil {
		return unreadable(path, err)
	}
	setting := []byte("directories.tokendir")
	want := fmt.Appendf(nil, "%s = %s", setting, filepath.Join(o.path(tokenDir), "tokens"))
	lines := bytes.Split(text, []byte("\n"))
	changed := false
	for i, line := range lines {
		if bytes.HasPrefix(line, setting) && !bytes.Equal(line, want) {
			lines[i], changed = want, true
		}
	}
	if !changed {
		return nil
	}
	if err := writeFile(path, bytes.Join(lines, []byte("\n"))); err != nil {
		return unreadable(path, err)
	}
	return nil
}

// tokenError adds what the state directory knows to an error of the token.
func (o *Options) tokenError(err error, config Config) error {
	e := &Error{Kind: KindToken, Path: o.Dir, Err: err}
	kind, _ := hsm.KindOf(err)
	switch {
	case kind == hsm.KindPIN:
		e.Kind = KindPIN
		e.Help = "the PIN is not the token's; check " + describePINSource(orElse(o.PINSource, config.PINSource), o.path(pinFile))
	case kind == hsm.KindTokenNotFound && config.Token.own():
		e.Help = "the token is gone from " + o.path(tokenDir) + "; restore the directory from a backup"
	}
	return e
}

func describePINSource(source, file string) string {
	if source == "" {
		return file
	}
	return "--pin-source " + source
}
