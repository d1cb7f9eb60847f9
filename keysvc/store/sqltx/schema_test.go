package sqltx

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"

	_ "modernc.org/sqlite" // registers the "sqlite" driver
)

// older is a database as a version of this program has left it that knew so many migrations.
func older(t *testing.T, version int) *sql.Tx {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "keys.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	run := func(statement string, args ...any) {
		t.Helper()
		if _, err := tx.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	run(bookkeeping)
	run(`INSERT INTO kms_store (one, schema_version, generation) VALUES (1, ?, 7)`, version)
	for _, statements := range migrations[:version] {
		for _, s := range statements {
			run(s)
		}
	}
	return tx
}

func TestOlderDatabasesAreBroughtToThePresentSchema(t *testing.T) {
	ctx, scope := context.Background(), store.Scope{Account: "111122223333", Region: "us-east-1"}
	for version := range len(migrations) {
		tx := older(t, version)
		if version > 0 {
			_, err := tx.ExecContext(ctx, `INSERT INTO kms_key (account, region, id, description, manager, spec, usage, origin, state, multi_region,
				created, deletion_date, deletion_window, rotation_period, next_rotation)
				VALUES (?, ?, 'k', 'old', 'CUSTOMER', 'SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT', 'AWS_KMS', 'Enabled', 0, 1, 0, 0, 0, 0)`, scope.Account, scope.Region)
			if err != nil {
				t.Fatal(err)
			}
		}
		if generation, err := Migrate(ctx, tx); err != nil || generation != 7 {
			t.Fatalf("from version %d: generation %d, %v", version, generation, err)
		}
		s, err := Begin(ctx, tx)
		if err != nil {
			t.Fatal(err)
		}
		since, err := s.UsageSince(ctx)
		if err != nil || time.Since(since) > time.Minute {
			t.Errorf("from version %d: uses are recorded since %v, %v", version, since, err)
		}
		if version == 0 {
			continue
		}
		key, err := s.Key(ctx, scope, "k")
		if err != nil || key.Description != "old" || key.PrimaryRegion != "" {
			t.Errorf("from version %d: %+v, %v", version, key, err)
		}
		_, policyErr := s.Policy(ctx, scope, "k")
		_, usageErr := s.Usage(ctx, scope, "k")
		if !errors.Is(policyErr, store.ErrNotFound) || !errors.Is(usageErr, store.ErrNotFound) {
			t.Errorf("from version %d: %v, %v", version, policyErr, usageErr)
		}
	}
}

func TestMigratingAgainChangesNothing(t *testing.T) {
	ctx := context.Background()
	tx := older(t, len(migrations))
	if _, err := tx.ExecContext(ctx, `UPDATE kms_store SET usage_since = 1700000000123`); err != nil {
		t.Fatal(err)
	}
	if _, err := Migrate(ctx, tx); err != nil {
		t.Fatal(err)
	}
	if since, err := At(tx, 7).UsageSince(ctx); err != nil || since.UnixMilli() != 1700000000123 {
		t.Errorf("uses are recorded since %v, %v", since, err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE kms_store SET schema_version = schema_version + 1`); err != nil {
		t.Fatal(err)
	}
	if _, err := Migrate(ctx, tx); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("a database of a later version: %v", err)
	}
}
