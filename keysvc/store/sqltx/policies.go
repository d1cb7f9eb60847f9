package sqltx

import (
	"context"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

// Policy implements [store.Tx].
func (t *Tx) Policy(ctx context.Context, scope store.Scope, keyID string) (document string, err error) {
	err = t.tx.QueryRowContext(ctx, `SELECT document FROM kms_policy WHERE account = ? AND region = ? AND key_id = ?`,
		scope.Account, scope.Region, keyID).Scan(&document)
	return document, notFound(err)
}

// PutPolicy implements [store.Tx].
func (t *Tx) PutPolicy(ctx context.Context, scope store.Scope, keyID, document string) error {
	return t.execOne(ctx, `INSERT INTO kms_policy (account, region, key_id, document) VALUES (?, ?, ?, ?)
		ON CONFLICT (account, region, key_id) DO UPDATE SET document = excluded.document`,
		scope.Account, scope.Region, keyID, document)
}
