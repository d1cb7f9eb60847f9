package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/kmsfs/kmsfs/keysvc/store/sqltx"
)

// migrationLock is the advisory lock that keeps two programs from making the tables at once. The number
// means nothing.
const migrationLock = 0x6b6d736673

// migrate brings the database to the present schema. A role that may not create tables can use a
// database that has it.
func (s *Store) migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := checkEncoding(ctx, tx); err != nil {
		return err
	}
	if current, err := isCurrent(ctx, tx); err != nil || current {
		return err
	}
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrationLock)); err != nil {
		return err
	}
	// Another program may have done it by now; Migrate looks again.
	if _, err := sqltx.Migrate(ctx, conn{tx, ctx}); err != nil {
		return err
	}
	return tx.Commit()
}

// isCurrent tells whether the tables are there and as they should be.
func isCurrent(ctx context.Context, tx *sql.Tx) (bool, error) {
	var there bool
	if err := tx.QueryRowContext(ctx, `SELECT to_regclass('kms_store') IS NOT NULL`).Scan(&there); err != nil || !there {
		return false, err
	}
	return sqltx.Current(ctx, conn{tx, ctx})
}

// errEncoding says that the database can't hold every text.
var errEncoding = errors.New("the encoding of the database is not UTF8")

func checkEncoding(ctx context.Context, tx *sql.Tx) error {
	var encoding string
	if err := tx.QueryRowContext(ctx, `SELECT current_setting('server_encoding')`).Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("%w but %s", errEncoding, encoding)
	}
	return nil
}
