package sqltx

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

// Grants implements [store.Tx].
func (t *Tx) Grants(ctx context.Context, scope store.Scope, f store.GrantFilter, after string, limit int) ([]store.Grant, error) {
	return collect(ctx, t, scanGrant, `SELECT id, key_id, name, grantee, retiring, issuing_account, operations, constraints, created
		FROM kms_grant WHERE account = ? AND region = ? AND (? = '' OR key_id = ?) AND (? = '' OR id = ?)
		AND (? = '' OR grantee = ?) AND (? = '' OR retiring = ?) AND id > ? ORDER BY id LIMIT ?`,
		scope.Account, scope.Region, f.KeyID, f.KeyID, f.GrantID, f.GrantID,
		f.Grantee, f.Grantee, f.Retiring, f.Retiring, after, limit)
}

// CreateGrant implements [store.Tx].
func (t *Tx) CreateGrant(ctx context.Context, scope store.Scope, g store.Grant) error {
	operations, err := json.Marshal(g.Operations)
	if err != nil {
		return err
	}
	constraints, err := json.Marshal(g.Constraints)
	if err != nil {
		return err
	}
	return t.execOne(ctx, `INSERT INTO kms_grant (account, region, key_id, id, name, grantee, retiring, issuing_account,
		operations, constraints, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, scope.Account, scope.Region,
		g.KeyID, g.ID, g.Name, g.Grantee, g.Retiring, g.IssuingAccount, string(operations), string(constraints), millis(g.Created))
}

// DeleteGrant implements [store.Tx].
func (t *Tx) DeleteGrant(ctx context.Context, scope store.Scope, keyID, grantID string) error {
	return t.execOne(ctx, `DELETE FROM kms_grant WHERE account = ? AND region = ? AND key_id = ? AND id = ?`,
		scope.Account, scope.Region, keyID, grantID)
}

func scanGrant(row scanner) (store.Grant, error) {
	var g store.Grant
	var operations, constraints string
	var created int64
	if err := row.Scan(&g.ID, &g.KeyID, &g.Name, &g.Grantee, &g.Retiring, &g.IssuingAccount,
		&operations, &constraints, &created); err != nil {
		return g, err
	}
	g.Created = fromMillis(created)
	if err := json.Unmarshal([]byte(operations), &g.Operations); err != nil {
		return g, fmt.Errorf("operations of grant %s: %w", g.ID, err)
	}
	if err := json.Unmarshal([]byte(constraints), &g.Constraints); err != nil {
		return g, fmt.Errorf("constraints of grant %s: %w", g.ID, err)
	}
	return g, nil
}
