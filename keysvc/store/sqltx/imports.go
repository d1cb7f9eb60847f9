package sqltx

import (
	"context"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

const selectImport = `SELECT account, region, key_id, backing, algorithm, expires FROM kms_import `

// PutImport implements [store.Tx].
func (t *Tx) PutImport(ctx context.Context, i store.Import) error {
	return t.execOne(ctx, `INSERT INTO kms_import (account, region, key_id, backing, algorithm, expires) VALUES (?, ?, ?, ?, ?, ?)`,
		i.Account, i.Region, i.KeyID, i.Backing.String(), i.Algorithm, millis(i.Expires))
}

// Import implements [store.Tx].
func (t *Tx) Import(ctx context.Context, scope store.Scope, backing store.BackingID) (store.Import, error) {
	i, err := scanImport(t.tx.QueryRowContext(ctx, selectImport+`WHERE account = ? AND region = ? AND backing = ?`,
		scope.Account, scope.Region, backing.String()))
	return i, notFound(err)
}

// Imports implements [store.Tx].
func (t *Tx) Imports(ctx context.Context, scope store.Scope, keyID string) ([]store.Import, error) {
	return collect(ctx, t, scanImport, selectImport+`WHERE account = ? AND region = ? AND key_id = ? ORDER BY backing`,
		scope.Account, scope.Region, keyID)
}

// ExpiredImports implements [store.Tx].
func (t *Tx) ExpiredImports(ctx context.Context, now time.Time) ([]store.Import, error) {
	return collect(ctx, t, scanImport, selectImport+`WHERE expires <= ? ORDER BY account, region, backing`, millis(now))
}

// DeleteImport implements [store.Tx].
func (t *Tx) DeleteImport(ctx context.Context, scope store.Scope, backing store.BackingID) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM kms_import WHERE account = ? AND region = ? AND backing = ?`,
		scope.Account, scope.Region, backing.String())
	return err
}

func scanImport(row scanner) (store.Import, error) {
	var i store.Import
	var backing string
	var expires int64
	if err := row.Scan(&i.Account, &i.Region, &i.KeyID, &backing, &i.Algorithm, &expires); err != nil {
		return i, err
	}
	i.Expires = fromMillis(expires)
	var err error
	i.Backing, err = parseBacking(backing)
	return i, err
}
