package embedded

import (
	"context"
	"errors"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/store/postgres"
	"github.com/kmsfs/kmsfs/keysvc/store/sqlite"
)

// StoreConfig selects the store: SQLite in the directory, or a database that several hosts share.
type StoreConfig struct {
	// Postgres is a connection string of libpq, without a password.
	Postgres string `json:"postgres,omitempty"`
}

// shared tells whether other hosts may use the store.
func (c StoreConfig) shared() bool { return c.Postgres != "" }

// openStore opens the store that the configuration selects.
func (o *Options) openStore(ctx context.Context, config *Config) (store.Store, error) {
	if !config.Store.shared() {
		s, err := sqlite.Open(ctx, o.path(storeFile))
		if err != nil {
			return nil, &Error{Kind: KindStore, Path: o.Dir, Err: err, Help: "check the disk and who owns " + o.path(storeFile)}
		}
		return s, nil
	}
	s, err := postgres.Open(ctx, config.Store.Postgres, o.Logger)
	if err != nil {
		return nil, &Error{Kind: KindStore, Path: o.Dir, Err: err}
	}
	return s, nil
}

// tryStore makes sure, before a directory is made, that its shared store can be opened and doesn't ask
// for another token than the new one that it would get.
func (o *Options) tryStore(ctx context.Context, config *Config) error {
	if !config.Store.shared() {
		return nil
	}
	if err := postgres.Check(config.Store.Postgres); err != nil {
		return &Error{Kind: KindInvalid, Err: err}
	}
	s, err := o.openStore(ctx, config)
	if err != nil {
		return err
	}
	known, err := sampleMaterials(ctx, s)
	_ = s.Close() // nothing was changed
	switch {
	case err != nil:
		return &Error{Kind: KindStore, Path: o.Dir, Err: err}
	case len(known) > 0 && config.Token.own():
		return foreignStore(o.Dir)
	}
	return nil
}

// checkToken makes sure that the token is the one that the keys of a shared store are in. A host with
// another one would rotate keys that no other host could use then.
func (e *Embedded) checkToken(ctx context.Context) error {
	if !e.config.Store.shared() {
		return nil
	}
	known, err := sampleMaterials(ctx, e.store)
	if err != nil {
		return &Error{Kind: KindStore, Path: e.dir, Err: err}
	}
	for _, m := range known {
		if has, err := e.token.HasKey(ctx, hsm.KeyID(m)); err != nil {
			return &Error{Kind: KindToken, Path: e.dir, Err: err}
		} else if has {
			return nil
		}
	}
	if len(known) > 0 {
		return foreignStore(e.dir)
	}
	return nil
}

func foreignStore(dir string) error {
	return &Error{Kind: KindToken, Path: dir, Err: errors.New("the keys in the database are in another token than this directory's"),
		Help: "hosts that share a database share a token: make another directory (--state-dir) with --hsm-token, --hsm-module and --postgres as on the other hosts"}
}

// sampleSize is how many backing keys are looked for. One would do, but for a token that lost it.
const sampleSize = 3

// sampleMaterials returns a few backing keys that the token must have.
func sampleMaterials(ctx context.Context, s store.Store) (found []store.BackingID, err error) {
	err = s.View(ctx, func(tx store.Tx) error {
		found, err = tx.LastingMaterials(ctx, sampleSize)
		return err
	})
	return found, err
}
