package embedded

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/store/postgres"
	"github.com/kmsfs/kmsfs/keysvc/store/sqltx"
)

// moveStore moves the keys' state of a restored directory, which nobody uses yet, into the database that
// the options name, and has the directory's configuration name it.
func (o *Options) moveStore(ctx context.Context, dir string) error {
	if err := postgres.Check(o.Postgres); err != nil {
		return &Error{Kind: KindInvalid, Err: err}
	}
	from := Options{Dir: dir, Logger: o.Logger}
	config, err := from.load(ctx)
	if err != nil {
		return err
	}
	if config.Store.shared() {
		return &Error{Kind: KindInvalid, Err: errors.New("the keys' state of this backup is in a database already"),
			Help: "restore it without --postgres; to use another database change config.json then"}
	}
	if err := from.copyStore(ctx, config, o.Postgres); err != nil {
		return err
	}
	left, err := fs.Glob(os.DirFS(dir), storeFile+"*")
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	config.Store.Postgres = o.Postgres
	text, err := config.format()
	if err != nil {
		return err
	}
	return writeFile(from.path(configFile), text)
}

// copyStore copies all that the directory's SQLite store has into an empty database.
func (o *Options) copyStore(ctx context.Context, config Config, database string) error {
	source, err := o.openStore(ctx, &config)
	if err != nil {
		return err
	}
	defer source.Close()
	config.Store.Postgres = database
	target, err := o.openStore(ctx, &config)
	if err != nil {
		return err
	}
	defer target.Close()
	err = target.Update(ctx, func(to store.Tx) error {
		return source.View(ctx, func(from store.Tx) error { return sqltx.Copy(ctx, from, to) })
	})
	if err == nil {
		return nil
	}
	e := &Error{Kind: KindStore, Err: err}
	if errors.Is(err, sqltx.ErrNotEmpty) {
		e.Help = "name an empty database, or a schema of its own with search_path=NAME"
	}
	return e
}
