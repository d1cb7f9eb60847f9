package sqltx

import (
	"context"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

// Tags implements [store.Tx].
func (t *Tx) Tags(ctx context.Context, scope store.Scope, keyID string) ([]store.Tag, error) {
	return collect(ctx, t, scanTag, `SELECT tag_key, tag_value FROM kms_tag WHERE account = ? AND region = ? AND key_id = ?
		ORDER BY tag_key`, scope.Account, scope.Region, keyID)
}

// PutTag implements [store.Tx].
func (t *Tx) PutTag(ctx context.Context, scope store.Scope, keyID string, tag store.Tag) error {
	return t.execOne(ctx, `INSERT INTO kms_tag (account, region, key_id, tag_key, tag_value) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (account, region, key_id, tag_key) DO UPDATE SET tag_value = excluded.tag_value`,
		scope.Account, scope.Region, keyID, tag.Key, tag.Value)
}

// DeleteTag implements [store.Tx].
func (t *Tx) DeleteTag(ctx context.Context, scope store.Scope, keyID, tagKey string) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM kms_tag WHERE account = ? AND region = ? AND key_id = ? AND tag_key = ?`,
		scope.Account, scope.Region, keyID, tagKey)
	return err
}

func scanTag(row scanner) (store.Tag, error) {
	var tag store.Tag
	err := row.Scan(&tag.Key, &tag.Value)
	return tag, err
}
