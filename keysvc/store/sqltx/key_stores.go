package sqltx

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

const selectKeyStore = `SELECT account, region, id, name, type, cluster, trust_anchor, xks_endpoint, xks_path,
	xks_access_key, backing, secret, state, error_code, revision, created FROM kms_key_store `

// KeyStore implements [store.Tx].
func (t *Tx) KeyStore(ctx context.Context, scope store.Scope, id string) (store.KeyStore, error) {
	ks, err := scanKeyStore(t.tx.QueryRowContext(ctx, selectKeyStore+`WHERE account = ? AND region = ? AND id = ?`,
		scope.Account, scope.Region, id))
	return ks, notFound(err)
}

// KeyStores implements [store.Tx].
func (t *Tx) KeyStores(ctx context.Context, scope store.Scope, after string, limit int) ([]store.KeyStore, error) {
	return collect(ctx, t, scanKeyStore, selectKeyStore+`WHERE account = ? AND region = ? AND id > ? ORDER BY id LIMIT ?`,
		scope.Account, scope.Region, after, limit)
}

// PutKeyStore implements [store.Tx].
func (t *Tx) PutKeyStore(ctx context.Context, s store.KeyStore) error {
	_, err := t.tx.ExecContext(ctx, `INSERT INTO kms_key_store (account, region, id, name, type, cluster, trust_anchor,
		xks_endpoint, xks_path, xks_access_key, backing, secret, state, error_code, revision, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (account, region, id) DO UPDATE SET name = excluded.name, cluster = excluded.cluster,
		trust_anchor = excluded.trust_anchor, xks_endpoint = excluded.xks_endpoint, xks_path = excluded.xks_path,
		xks_access_key = excluded.xks_access_key, backing = excluded.backing, secret = excluded.secret,
		state = excluded.state, error_code = excluded.error_code, revision = excluded.revision`,
		s.Account, s.Region, s.ID, s.Name, s.Type, s.ClusterID, s.TrustAnchor, s.XksEndpoint, s.XksPath, s.XksAccessKey,
		s.Backing.String(), base64.StdEncoding.EncodeToString(s.Secret), s.State, s.ErrorCode, s.Revision, millis(s.Created))
	return err
}

// DeleteKeyStore implements [store.Tx].
func (t *Tx) DeleteKeyStore(ctx context.Context, scope store.Scope, id string) error {
	keys, err := t.KeysInStore(ctx, scope, id, "", 1)
	if err == nil && len(keys) > 0 {
		err = errors.New("there are keys in the key store")
	}
	if err != nil {
		return err
	}
	return t.execOne(ctx, `DELETE FROM kms_key_store WHERE account = ? AND region = ? AND id = ?`, scope.Account, scope.Region, id)
}

// KeysInStore implements [store.Tx].
func (t *Tx) KeysInStore(ctx context.Context, scope store.Scope, id, xksKeyID string, limit int) ([]string, error) {
	return collect(ctx, t, scanString, `SELECT id FROM kms_key WHERE account = ? AND region = ? AND key_store = ?
		AND key_store <> '' AND (? = '' OR xks_key = ?) ORDER BY id LIMIT ?`, scope.Account, scope.Region, id, xksKeyID, xksKeyID, limit)
}

func scanKeyStore(row scanner) (store.KeyStore, error) {
	var s store.KeyStore
	var backing, secret string
	var created int64
	err := row.Scan(&s.Account, &s.Region, &s.ID, &s.Name, &s.Type, &s.ClusterID, &s.TrustAnchor, &s.XksEndpoint, &s.XksPath,
		&s.XksAccessKey, &backing, &secret, &s.State, &s.ErrorCode, &s.Revision, &created)
	if err != nil {
		return s, err
	}
	s.Created = fromMillis(created)
	if s.Secret, err = base64.StdEncoding.DecodeString(secret); err != nil {
		return s, fmt.Errorf("the secret of the key store %s is no base64", s.ID)
	}
	id, err := hex.DecodeString(backing)
	if err != nil || copy(s.Backing[:], id) != len(s.Backing) {
		return s, fmt.Errorf("the key store %s names a backing key by %q, which is no id", s.ID, backing)
	}
	return s, nil
}
