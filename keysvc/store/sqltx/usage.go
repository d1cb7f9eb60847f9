package sqltx

import (
	"context"
	"database/sql"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

// execer is the part of a transaction that RecordUsage needs.
type execer interface {
	ExecContext(ctx context.Context, statement string, args ...any) (sql.Result, error)
}

// RecordUsage is what [store.Store.RecordUsage] does inside a transaction of its own,
// which must leave the generation as it is. It locks the rows in the order of uses.
func RecordUsage(ctx context.Context, tx execer, uses []store.Usage) error {
	for _, u := range uses {
		_, err := tx.ExecContext(ctx, `INSERT INTO kms_usage (account, region, key_id, operation, used, request_id, event_id)
			SELECT account, region, id, CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT)
			FROM kms_key WHERE account = ? AND region = ? AND id = ?
			ON CONFLICT (account, region, key_id) DO UPDATE SET operation = excluded.operation, used = excluded.used,
			request_id = excluded.request_id, event_id = excluded.event_id WHERE excluded.used >= kms_usage.used`,
			u.Operation, millis(u.At), u.RequestID, u.EventID, u.Account, u.Region, u.ID)
		if err != nil {
			return err
		}
	}
	return nil
}

// Usage implements [store.Tx].
func (t *Tx) Usage(ctx context.Context, scope store.Scope, keyID string) (store.Usage, error) {
	u := store.Usage{KeyRef: store.KeyRef{Scope: scope, ID: keyID}}
	var used int64
	err := t.tx.QueryRowContext(ctx, `SELECT operation, used, request_id, event_id FROM kms_usage
		WHERE account = ? AND region = ? AND key_id = ?`, scope.Account, scope.Region, keyID).Scan(&u.Operation, &used, &u.RequestID, &u.EventID)
	u.At = fromMillis(used)
	return u, notFound(err)
}

// UsageSince implements [store.Tx].
func (t *Tx) UsageSince(ctx context.Context) (time.Time, error) {
	var since int64
	err := t.tx.QueryRowContext(ctx, `SELECT usage_since FROM kms_store`).Scan(&since)
	return fromMillis(since), err
}
