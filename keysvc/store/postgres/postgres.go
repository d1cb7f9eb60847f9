package postgres

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/store/sqltx"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// ErrClosed is returned by every method of a closed store.
var ErrClosed = errors.New("the key store is closed")

// Store is a [store.Store] in a PostgreSQL database.
type Store struct {
	config *pgx.ConnConfig
	log    *slog.Logger
	db     *sql.DB
	known  generations
	// updating holds one thing while an update of this process runs. The others wait here and not for
	// the database's lock, each with a connection.
	updating chan struct{}

	closed atomic.Bool
	stop   context.CancelFunc // of listen
	ended  sync.WaitGroup     // of listen
}

var _ store.Store = (*Store)(nil)

// Open connects to the database that a connection string of libpq names, and brings it to the present
// schema. Its errors are of type [*Error] and have a Hint. log is told when the database is lost and
// found.
func Open(ctx context.Context, conninfo string, log *slog.Logger) (*Store, error) {
	config, err := parse(conninfo)
	if err != nil {
		return nil, err
	}
	s := &Store{config: config, log: log, db: stdlib.OpenDB(*config.Copy()), known: generations{born: time.Now()}, updating: make(chan struct{}, 1)}
	s.db.SetMaxOpenConns(maxConnections)
	s.db.SetMaxIdleConns(maxIdleConnections)
	s.db.SetConnMaxIdleTime(maxIdleTime)
	s.db.SetConnMaxLifetime(maxConnectionAge)
	conn, err := s.start(ctx)
	if err != nil {
		_ = s.db.Close() // err is the reason
		return nil, s.describe(err)
	}
	for _, host := range unauthenticated(config) {
		log.Warn("the database server does not have to prove who it is: add sslmode=verify-full to the connection string", "host", host)
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.ended.Go(func() { s.listen(ctx, conn) })
	return s, nil
}

func (s *Store) start(ctx context.Context) (*pgx.Conn, error) {
	if err := s.migrate(ctx); err != nil {
		return nil, err
	}
	return s.subscribe(ctx)
}

// View implements [store.Store].
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	return s.attempt(ctx, func(ctx context.Context) (bool, error) { return s.view(ctx, fn) })
}

// view is one attempt. What it returns as again is whether another one can help and do no harm.
func (s *Store) view(ctx context.Context, fn func(store.Tx) error) (again bool, err error) {
	session := s.known.session()
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return isLost(err), err
	}
	defer func() { _ = tx.Rollback() }()
	c := conn{tx, ctx}
	generation, err := sqltx.Generation(ctx, c) // starts the snapshot
	if err != nil {
		return isLost(err), err
	}
	err = fn(sqltx.At(c, in(session, generation)))
	return isAborted(err), err
}

// Update implements [store.Store].
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.attempt(ctx, func(ctx context.Context) (bool, error) {
		select {
		case s.updating <- struct{}{}:
			defer func() { <-s.updating }()
			return s.update(ctx, fn)
		case <-ctx.Done():
			return false, ctx.Err()
		}
	})
}

// update is one attempt, as view.
func (s *Store) update(ctx context.Context, fn func(store.Tx) error) (again bool, err error) {
	session := s.known.session()
	connection, err := s.db.Conn(ctx)
	if err != nil {
		return isLost(err), err
	}
	defer connection.Close()
	// A caller who gives up ends the statements, but not the commit, whose outcome nobody would know.
	steady, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout+commitTimeout)
	defer cancel()
	tx, err := connection.BeginTx(steady, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return isLost(err), err
	}
	defer func() { _ = tx.Rollback() }()
	generation, err := lock(ctx, tx)
	if err != nil {
		return isLost(err) || isAborted(err), err
	}
	if err := fn(sqltx.At(conn{tx, ctx}, in(session, generation))); err != nil {
		return isAborted(err), err
	}
	next, err := advance(ctx, tx)
	if err != nil {
		return isAborted(err), err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := tx.Commit(); err != nil {
		return isAborted(err), ofCommit(err)
	}
	s.known.heard(next)
	return false, nil
}

// RecordUsage implements [store.Store]. It takes no part in the order of updates.
func (s *Store) RecordUsage(ctx context.Context, uses []store.Usage) error {
	return s.attempt(ctx, func(ctx context.Context) (bool, error) {
		tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			return isLost(err), err
		}
		defer func() { _ = tx.Rollback() }()
		if err := sqltx.RecordUsage(ctx, conn{tx, ctx}, uses); err != nil {
			return isAborted(err), err
		}
		err = tx.Commit()
		return isAborted(err) || isLost(err), err // done twice it is the same
	})
}

// lock waits until no other update is under way and reads the generation that the last one has left.
func lock(ctx context.Context, tx *sql.Tx) (generation uint64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT generation FROM kms_store FOR UPDATE`).Scan(&generation)
	return generation, err
}

// advance counts the generation up and announces it at the commit.
func advance(ctx context.Context, tx *sql.Tx) (next uint64, err error) {
	err = tx.QueryRowContext(ctx, `WITH next AS (UPDATE kms_store SET generation = generation + 1 RETURNING generation)
		SELECT generation FROM next, pg_notify(`+channel+`, '')`).Scan(&next)
	return next, err
}

// Generation implements [store.Store]. It is a load of two words and a look at the clock.
func (s *Store) Generation() uint64 { return s.known.load() }

// Close implements [store.Store].
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.stop()
	s.ended.Wait()
	s.known.end()
	return s.db.Close()
}
