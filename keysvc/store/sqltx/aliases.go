package sqltx

import (
	"context"
	"errors"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

const selectAlias = `SELECT name, key_id, created, updated FROM kms_alias `

// Alias implements [store.Tx].
func (t *Tx) Alias(ctx context.Context, scope store.Scope, name string) (store.Alias, error) {
	alias, err := scanAlias(t.tx.QueryRowContext(ctx, selectAlias+`WHERE account = ? AND region = ? AND name = ?`,
		scope.Account, scope.Region, name))
	return alias, notFound(err)
}

// Aliases implements [store.Tx].
func (t *Tx) Aliases(ctx context.Context, scope store.Scope, keyID, after string, limit int) ([]store.Alias, error) {
	return collect(ctx, t, scanAlias, selectAlias+`WHERE account = ? AND region = ? AND (? = '' OR key_id = ?) AND name > ?
		ORDER BY name LIMIT ?`, scope.Account, scope.Region, keyID, keyID, after, limit)
}

// CreateAlias implements [store.Tx].
func (t *Tx) CreateAlias(ctx context.Context, scope store.Scope, a store.Alias) error {
	err := t.execOne(ctx, `INSERT INTO kms_alias (account, region, name, key_id, created, updated)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		scope.Account, scope.Region, a.Name, a.KeyID, millis(a.Created), millis(a.Updated))
	if errors.Is(err, store.ErrNotFound) {
		return store.ErrExists
	}
	return err
}

// UpdateAlias implements [store.Tx].
func (t *Tx) UpdateAlias(ctx context.Context, scope store.Scope, a store.Alias) error {
	return t.execOne(ctx, `UPDATE kms_alias SET key_id = ?, updated = ? WHERE account = ? AND region = ? AND name = ?`,
		a.KeyID, millis(a.Updated), scope.Account, scope.Region, a.Name)
}

// DeleteAlias implements [store.Tx].
func (t *Tx) DeleteAlias(ctx context.Context, scope store.Scope, name string) error {
	return t.execOne(ctx, `DELETE FROM kms_alias WHERE account = ? AND region = ? AND name = ?`, scope.Account, scope.Region, name)
}

func scanAlias(row scanner) (store.Alias, error) {
	var a store.Alias
	var created, updated int64
	err := row.Scan(&a.Name, &a.KeyID, &created, &updated)
	a.Created, a.Updated = fromMillis(created), fromMillis(updated)
	return a, err
}
