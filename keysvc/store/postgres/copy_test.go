package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/store/sqlite"
	"github.com/kmsfs/kmsfs/keysvc/store/sqltx"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/jackc/pgx/v5/stdlib"
)

// fill puts something into every table.
func fill(t *testing.T, s store.Store) {
	t.Helper()
	now, ctx := time.UnixMilli(1700000000123).UTC(), t.Context()
	err := s.Update(ctx, func(tx store.Tx) (err error) {
		for i := range 250 {
			id := fmt.Sprint("key", i)
			err = errors.Join(err, tx.PutKey(ctx, store.Key{Scope: scope, ID: id, Description: "Schlüssel '☃'", Created: now,
				Materials: []store.Material{{Backing: store.BackingID{1, byte(i)}, Number: 1, State: store.MaterialCurrent, Check: []byte{0, 255}}}}))
		}
		return errors.Join(err,
			tx.PutKeyStore(ctx, store.KeyStore{Scope: scope, ID: "cks-1", Name: "n", Secret: []byte{0, 1}, Created: now, Revision: 1 << 40}),
			tx.CreateAlias(ctx, scope, store.Alias{Name: "alias/a", KeyID: "key1", Created: now}),
			tx.CreateGrant(ctx, scope, store.Grant{ID: "g", KeyID: "key1", Operations: []types.GrantOperation{types.GrantOperationDecrypt}}),
			tx.PutTag(ctx, scope, "key2", store.Tag{Key: "k", Value: "v"}),
			tx.PutImport(ctx, store.Import{Scope: scope, KeyID: "key3", Backing: store.BackingID{2}, Expires: now}),
			tx.PutPolicy(ctx, scope, "key1", "{}"))
	})
	err = errors.Join(err, s.RecordUsage(ctx, []store.Usage{{KeyRef: store.KeyRef{Scope: scope, ID: "key1"}, Operation: "Decrypt", At: now}}))
	if err != nil {
		t.Fatal(err)
	}
}

func copyStore(ctx context.Context, from, to store.Store) error {
	return to.Update(ctx, func(target store.Tx) error {
		return from.View(ctx, func(source store.Tx) error { return sqltx.Copy(ctx, source, target) })
	})
}

func TestACopyHasEveryRowOfEveryTable(t *testing.T) {
	path, conninfo := filepath.Join(t.TempDir(), "keys.db"), server.Schema(t)
	from, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to := open(t, conninfo)
	fill(t, from)
	var before uint64
	if err := to.View(t.Context(), func(tx store.Tx) error { before = tx.Generation(); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := copyStore(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	if to.Generation() == before {
		t.Error("what was read before the copy is still trusted")
	}
	source, target := database(t, "sqlite", path), database(t, "pgx", conninfo)
	for _, table := range column(t, target, `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()`) {
		query := `SELECT * FROM ` + table
		if table == "kms_store" {
			query = `SELECT schema_version, usage_since FROM kms_store`
		}
		want, got := rows(t, source, query), rows(t, target, query)
		if len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s has %d rows %.200q, want %d rows %.200q", table, len(got), got, len(want), want)
		}
	}
	if err := copyStore(t.Context(), from, to); !errors.Is(err, sqltx.ErrNotEmpty) {
		t.Errorf("a second copy: %v", err)
	}
}

func database(t *testing.T, driver, source string) *sql.DB {
	t.Helper()
	_ = stdlib.GetDefaultDriver() // registers "pgx"
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func column(t *testing.T, db *sql.DB, query string) (values []string) {
	t.Helper()
	found, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		var value string
		if err := found.Scan(&value); err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	return values
}

// rows is every row of a query as text, with the names of the columns, sorted.
func rows(t *testing.T, db *sql.DB, query string) (all []string) {
	t.Helper()
	found, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	columns, err := found.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for found.Next() {
		row, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			targets[i] = &row[i]
		}
		if err := found.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		var text string
		for i, name := range columns {
			text += fmt.Sprintf("%s=%v ", name, row[i])
		}
		all = append(all, text)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}
