package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// maxAttempts bounds how often a transaction is tried.
const maxAttempts = 4

// retryPause is before the second attempt; later ones wait longer.
const retryPause = 10 * time.Millisecond

// attempt runs a transaction until it succeeds, fails for good, or its time is over.
func (s *Store) attempt(caller context.Context, run func(context.Context) (again bool, err error)) error {
	ctx, cancel := context.WithTimeout(caller, callTimeout)
	defer cancel()
	for n := 1; ; n++ {
		if s.closed.Load() {
			return ErrClosed
		}
		again, err := run(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, store.ErrUncertain):
			return err
		case caller.Err() != nil:
			return fmt.Errorf("%w: %w", caller.Err(), err)
		case ctx.Err() != nil:
			return fmt.Errorf("%w: no answer within %v: %w", store.ErrUnavailable, callTimeout, err)
		case again && n < maxAttempts:
			pause(ctx, retryPause<<n)
		case isLost(err) || isAborted(err):
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		case sqlState(err) == "22021":
			return fmt.Errorf("%w: %w", store.ErrText, err)
		default:
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// ofCommit makes an error of a commit uncertain, unless the server gave it or wasn't asked. pgx's own
// opinion on that (SafeToRetry) isn't asked: it says "conn closed" as well when only the answer got lost.
func ofCommit(err error) error {
	if sqlState(err) != "" || errors.Is(err, pgx.ErrTxCommitRollback) || errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUncertain, err)
}

// isAborted tells whether the server has ended a transaction so that it can be done again: for a
// serialization failure or a deadlock.
func isAborted(err error) bool {
	return slices.Contains([]string{"40001", "40P01"}, sqlState(err))
}

// isLost tells whether the database can't be reached, or ends the connection, or has no room for it.
func isLost(err error) bool {
	var dial *pgconn.ConnectError
	var network net.Error
	switch {
	case err == nil:
		return false
	case errors.As(err, &dial), errors.As(err, &network), pgconn.SafeToRetry(err):
		return true
	}
	for _, ended := range []error{driver.ErrBadConn, sql.ErrConnDone, sql.ErrTxDone, io.EOF, io.ErrUnexpectedEOF, pgconn.ErrConnClosed} {
		if errors.Is(err, ended) {
			return true
		}
	}
	switch state := sqlState(err); {
	case len(state) < 2:
		return false
	default: // connection exceptions, insufficient resources, operator intervention
		return slices.Contains([]string{"08", "53", "57"}, state[:2]) || state == "25P03"
	}
}

// sqlState is the code of an error of the server, "" for others.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
