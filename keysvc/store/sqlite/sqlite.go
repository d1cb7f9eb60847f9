package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/sharedword"
	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/store/sqltx"

	_ "modernc.org/sqlite" // registers the "sqlite" driver
)

// busyTimeout bounds how long an update waits for another process's.
const busyTimeout = 10 * time.Second

// ErrClosed is returned by every method of a closed store.
var ErrClosed = errors.New("the key store is closed")

// Store is a [store.Store] in an SQLite file.
type Store struct {
	path  string
	write *sql.DB // one connection: this process's updates queue here, not in SQLite
	read  *sql.DB // connections that SQLite keeps from writing

	// mu keeps the generation word mapped while somebody reads it: held for
	// reading by every use, for writing by Close.
	mu         sync.RWMutex
	closed     bool
	generation *sharedword.Word
}

var _ store.Store = (*Store)(nil)

// Open opens the database at path, making it if there is none, and brings it to
// the present schema.
func Open(ctx context.Context, path string) (*Store, error) {
	if err := reserve(path); err != nil {
		return nil, err
	}
	write, err := sql.Open("sqlite", dataSource(path, "foreign_keys(on)"))
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", dataSource(path, "query_only(on)"))
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	word, err := sharedword.Open(path + "-generation")
	if err != nil {
		return nil, errors.Join(err, write.Close(), read.Close())
	}
	s := &Store{path: path, write: write, read: read, generation: word}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), s.Close())
	}
	return s, nil
}

// reserve makes the file with a private mode before SQLite would make it with
// the process's umask. SQLite gives its -wal and -shm files the same mode.
func reserve(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func dataSource(path, pragma string) string {
	q := url.Values{}
	q.Set("_txlock", "immediate") // for transactions that aren't read-only
	q.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()))
	q.Add("_pragma", "journal_mode(wal)")
	q.Add("_pragma", "synchronous(full)")
	q.Add("_pragma", pragma)
	return (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String()
}

// migrate runs under SQLite's write lock, so that the word it sets at the end
// can't overtake an update of another process.
func (s *Store) migrate(ctx context.Context) error {
	return s.within(ctx, s.write, nil, func(tx *sql.Tx) error {
		generation, err := sqltx.Migrate(ctx, tx)
		if err != nil {
			return err
		}
		if err := s.generation.Store(generation); err != nil {
			return err
		}
		return tx.Commit()
	})
}

// within runs fn in a transaction, and rolls back what fn doesn't commit.
func (s *Store) within(ctx context.Context, db *sql.DB, options *sql.TxOptions, fn func(*sql.Tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	tx, err := db.BeginTx(ctx, options)
	if err == nil {
		defer func() { _ = tx.Rollback() }()
		err = fn(tx)
	}
	if err == nil {
		return nil
	}
	// That the context has ended, SQLite and database/sql tell in words of their own.
	return errors.Join(err, ctx.Err())
}

// View implements [store.Store].
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	return s.within(ctx, s.read, &sql.TxOptions{ReadOnly: true}, func(tx *sql.Tx) error {
		t, err := sqltx.Begin(ctx, tx)
		if err != nil {
			return err
		}
		return fn(t)
	})
}

// Update implements [store.Store].
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.within(ctx, s.write, nil, func(tx *sql.Tx) error {
		t, err := sqltx.Begin(ctx, tx)
		if err != nil {
			return err
		}
		if err := fn(t); err != nil {
			return err
		}
		return s.commit(ctx, tx, t)
	})
}

// RecordUsage implements [store.Store].
func (s *Store) RecordUsage(ctx context.Context, uses []store.Usage) error {
	return s.within(ctx, s.write, nil, func(tx *sql.Tx) error {
		if err := sqltx.RecordUsage(ctx, tx, uses); err != nil {
			return err
		}
		return tx.Commit()
	})
}

// commit publishes the new generation before it commits: a reader that already
// sees the new word and still the old state doesn't keep what it reads, as the
// state names its own generation. The other order would let a process that died
// in between leave readers on stale state.
func (s *Store) commit(ctx context.Context, tx *sql.Tx, t *sqltx.Tx) error {
	next, err := t.Advance(ctx)
	if err != nil {
		return err
	}
	if err := s.generation.Store(next); err != nil {
		return err
	}
	return tx.Commit()
}

// Snapshot copies the database to a new file and runs meanwhile, both in one moment for
// everybody else: no update commits from before the copy until meanwhile has returned.
func (s *Store) Snapshot(ctx context.Context, path string, meanwhile func() error) error {
	return s.within(ctx, s.write, nil, func(*sql.Tx) error { // it changes nothing and keeps others from it
		if err := errors.Join(reserve(path), s.copyTo(ctx, path)); err != nil {
			return err
		}
		return errors.Join(meanwhile(), ctx.Err()) // its end ends the transaction, in the middle of meanwhile
	})
}

// copyTo copies what is committed, over a connection of its own: those for reading may
// write nowhere.
func (s *Store) copyTo(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", dataSource(s.path, "foreign_keys(on)"))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, path)
	return errors.Join(err, db.Close())
}

// Generation implements [store.Store]. A closed store has a generation that no
// state has, so that nobody goes on with what was cached. It must not be called
// inside a transaction, which has its own.
func (s *Store) Generation() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return math.MaxUint64
	}
	return s.generation.Load()
}

// Close implements [store.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return errors.Join(s.read.Close(), s.write.Close(), s.generation.Close())
}
