package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/hsm/pkcs11"

	"golang.org/x/sys/unix"
)

const (
	configFile = "config.json"
	lockFile   = "lock"
	storeFile  = "keys.db"
	auditDir   = "audit"
	auditFile  = "audit.jsonl"
	tokenDir   = "token"
	tokenLabel = "kmsfs"

	defaultAccount = "000000000000"
	defaultRegion  = "us-east-1"
)

// provision makes the state directory unless somebody else has made it by the
// time that it gets the lock.
func (o *Options) provision(ctx context.Context) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return unreadable(o.Dir, err)
	}
	unlock, err := o.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(o.path(configFile)); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return unreadable(o.Dir, err)
	}
	return o.make(ctx)
}

// lock takes the directory's lock, which processes hold while they provision or
// log in.
func (o *Options) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(o.path(lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unreadable(o.Dir, err)
	}
	if err := flock(ctx, f); err != nil {
		f.Close()
		return nil, unreadable(f.Name(), err)
	}
	return func() { f.Close() }, nil // closing unlocks
}

func flock(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// make fills the directory. The caller holds the lock.
func (o *Options) make(ctx context.Context) error {
	if err := o.refuseOrphans(); err != nil {
		return err
	}
	config, err := o.newConfig()
	if err != nil {
		return err
	}
	if err := o.tryStore(ctx, config); err != nil {
		return err
	}
	if config.Token.own() {
		if err := o.makeToken(ctx, config); err != nil {
			return err
		}
	}
	text, err := config.format()
	if err != nil {
		return err
	}
	if err := writeFile(o.path(configFile), text); err != nil {
		return unreadable(o.path(configFile), err)
	}
	return nil
}

// refuseOrphans refuses a directory that has keys and no configuration: to make
// a new token there could cost the keys.
func (o *Options) refuseOrphans() error {
	if _, err := os.Lstat(o.path(storeFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return &Error{Kind: KindDamaged, Path: o.Dir, Err: errors.New("there is a key store but no config.json"),
		Help: "restore config.json from a backup, or choose another directory with --state-dir"}
}

// newConfig is the configuration that the options ask for.
func (o *Options) newConfig() (*Config, error) {
	config := &Config{
		Version: configVersion, PINSource: o.PINSource,
		Account: orElse(o.Account, defaultAccount), Region: orElse(o.Region, defaultRegion),
		Token: TokenConfig{URI: o.TokenURI, Module: o.Module}, Store: StoreConfig{Postgres: o.Postgres},
	}
	if config.Token.own() {
		config.Token.Label = tokenLabel
	}
	if err := config.check(); err != nil {
		return nil, &Error{Kind: KindInvalid, Err: err}
	}
	return config, nil
}

// makeToken provisions a SoftHSM token. What an interrupted first use has left
// is moved aside, never removed.
func (o *Options) makeToken(ctx context.Context, config *Config) error {
	source, err := parsePINSource(config.PINSource)
	if err != nil {
		return &Error{Kind: KindInvalid, Err: err}
	}
	if strings.ContainsAny(o.Dir, "#\n\r") {
		return &Error{Kind: KindInvalid, Path: o.Dir, Err: errors.New("SoftHSM can't use a directory with '#' or a line break in its name"),
			Help: "choose another directory with --state-dir"}
	}
	dir := o.path(tokenDir)
	if _, err := os.Lstat(dir); err == nil {
		if err := os.Rename(dir, fmt.Sprintf("%s.unfinished-%d", dir, time.Now().UnixNano())); err != nil {
			return unreadable(dir, err)
		}
	}
	pin, err := o.newPIN(ctx, source)
	if err != nil {
		return err
	}
	o.made = pin
	if err := os.Mkdir(dir, 0o700); err != nil {
		return unreadable(dir, err)
	}
	if err := pkcs11.ProvisionSoftHSM(dir, pin, config.Token.Label); err != nil {
		return &Error{Kind: KindToken, Path: dir, Err: err}
	}
	return nil
}

func unreadable(path string, err error) error {
	help := "check that the directory exists and belongs to you, or choose another one with --state-dir"
	if errors.Is(err, fs.ErrPermission) {
		help = "the directory belongs to another user: run the command as that user, or choose another one with --state-dir"
	}
	if errors.Is(err, unix.EROFS) {
		help = "the device can only be read: every call writes a record, so mount it for writing or choose another directory with --state-dir"
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		help = "make room on the device, or choose another directory with --state-dir"
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		help = "another process is making or opening the key service; try again"
	}
	return &Error{Kind: KindUnreadable, Path: path, Err: err, Help: help}
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
