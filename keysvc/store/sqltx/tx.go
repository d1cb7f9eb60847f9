package sqltx

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

// Conn is a transaction of database/sql, or what stands between it and the statements of a database
// that takes them in another form.
type Conn interface {
	ExecContext(ctx context.Context, statement string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Tx is a [store.Tx] over one database/sql transaction.
type Tx struct {
	tx         Conn
	generation uint64
}

var _ store.Tx = (*Tx)(nil)

// Begin reads the generation, which also starts the snapshot that the
// transaction reads.
func Begin(ctx context.Context, tx Conn) (*Tx, error) {
	generation, err := Generation(ctx, tx)
	return At(tx, generation), err
}

// At is a transaction whose generation is known already.
func At(tx Conn, generation uint64) *Tx { return &Tx{tx: tx, generation: generation} }

// Generation reads the generation of a database that Migrate has made.
func Generation(ctx context.Context, tx Conn) (generation uint64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT generation FROM kms_store`).Scan(&generation)
	return generation, err
}

// Generation is the number of the state that the transaction reads.
func (t *Tx) Generation() uint64 { return t.generation }

// Advance counts the generation up by one, as the last statement of an update,
// and returns the new number.
func (t *Tx) Advance(ctx context.Context) (uint64, error) {
	_, err := t.tx.ExecContext(ctx, `UPDATE kms_store SET generation = ?`, int64(t.generation+1))
	return t.generation + 1, err
}

// exec runs a statement that must change exactly one row.
func (t *Tx) execOne(ctx context.Context, statement string, args ...any) error {
	result, err := t.tx.ExecContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	changed, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if changed == 0 {
		return store.ErrNotFound
	}
	return nil
}

// collect reads every row of a query.
func collect[T any](ctx context.Context, t *Tx, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := t.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(...any) error }

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
