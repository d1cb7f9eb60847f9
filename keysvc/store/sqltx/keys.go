package sqltx

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const selectKey = `SELECT account, region, id, description, manager, spec, usage, origin, state,
	multi_region, created, deletion_date, deletion_window, rotation_period, next_rotation,
	primary_region, key_store, xks_key FROM kms_key `

// Key implements [store.Tx].
func (t *Tx) Key(ctx context.Context, scope store.Scope, id string) (store.Key, error) {
	row := t.tx.QueryRowContext(ctx, selectKey+`WHERE account = ? AND region = ? AND id = ?`, scope.Account, scope.Region, id)
	key, err := scanKey(row)
	if err != nil {
		return store.Key{}, notFound(err)
	}
	key.Materials, err = collect(ctx, t, scanMaterial, `SELECT number, backing, state, created, rotation, rotated,
		import_state, check_value, expires, description FROM kms_material WHERE account = ? AND region = ? AND key_id = ? ORDER BY number`, scope.Account, scope.Region, id)
	if err != nil || key.CustomKeyStoreID == "" {
		return key, err
	}
	ks, err := t.KeyStore(ctx, scope, key.CustomKeyStoreID)
	key.KeyStore = &ks
	return key, err
}

// KeyOfMaterial implements [store.Tx].
func (t *Tx) KeyOfMaterial(ctx context.Context, scope store.Scope, backing store.BackingID) (store.Key, error) {
	var id string
	err := t.tx.QueryRowContext(ctx, `SELECT key_id FROM kms_material WHERE account = ? AND region = ? AND backing = ?`,
		scope.Account, scope.Region, backing.String()).Scan(&id)
	if err != nil {
		return store.Key{}, notFound(err)
	}
	return t.Key(ctx, scope, id)
}

// KeyRegions implements [store.Tx].
func (t *Tx) KeyRegions(ctx context.Context, account, id string) ([]string, error) {
	return collect(ctx, t, scanString, `SELECT region FROM kms_key WHERE account = ? AND id = ? ORDER BY region`, account, id)
}

// MaterialUsers implements [store.Tx].
func (t *Tx) MaterialUsers(ctx context.Context, backing store.BackingID) (n int, err error) {
	err = t.tx.QueryRowContext(ctx, `SELECT count(*) FROM kms_material WHERE backing = ? AND import_state <> ?`,
		backing.String(), types.ImportStatePendingImport).Scan(&n)
	return n, err
}

// LastingMaterials implements [store.Tx].
func (t *Tx) LastingMaterials(ctx context.Context, limit int) ([]store.BackingID, error) {
	return collect(ctx, t, scanBacking, `SELECT m.backing FROM kms_material m JOIN kms_key k
		ON k.account = m.account AND k.region = m.region AND k.id = m.key_id
		WHERE m.state = ? AND m.import_state = '' AND k.key_store = '' AND k.state IN (?, ?)
		ORDER BY m.backing LIMIT ?`, store.MaterialCurrent, types.KeyStateEnabled, types.KeyStateDisabled, limit)
}

// KeyIDs implements [store.Tx].
func (t *Tx) KeyIDs(ctx context.Context, scope store.Scope, after string, limit int) ([]string, error) {
	return collect(ctx, t, scanString, `SELECT id FROM kms_key WHERE account = ? AND region = ? AND id > ?
		ORDER BY id LIMIT ?`, scope.Account, scope.Region, after, limit)
}

// DueKeys implements [store.Tx].
func (t *Tx) DueKeys(ctx context.Context, now, stale time.Time) ([]store.KeyRef, error) {
	return collect(ctx, t, scanRef, `SELECT account, region, id FROM kms_key k WHERE
		(state = ? AND deletion_date <= ?) OR (state = ? AND rotation_period > 0 AND next_rotation <= ?)
		OR EXISTS (SELECT 1 FROM kms_material m WHERE m.account = k.account AND m.region = k.region
			AND m.key_id = k.id AND (m.state = ? AND m.created < ? OR m.import_state = ? AND m.expires > 0 AND m.expires <= ?))
		ORDER BY account, region, id`,
		types.KeyStatePendingDeletion, millis(now), types.KeyStateEnabled, millis(now), store.MaterialCreating, millis(stale),
		types.ImportStateImported, millis(now))
}

// PutKey implements [store.Tx].
func (t *Tx) PutKey(ctx context.Context, k store.Key) error {
	_, err := t.tx.ExecContext(ctx, `INSERT INTO kms_key (account, region, id, description, manager, spec, usage, origin,
		state, multi_region, created, deletion_date, deletion_window, rotation_period, next_rotation,
		primary_region, key_store, xks_key)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (account, region, id) DO UPDATE SET description = excluded.description,
		manager = excluded.manager, spec = excluded.spec, usage = excluded.usage, origin = excluded.origin,
		state = excluded.state, multi_region = excluded.multi_region, created = excluded.created,
		deletion_date = excluded.deletion_date,
		deletion_window = excluded.deletion_window, rotation_period = excluded.rotation_period,
		next_rotation = excluded.next_rotation, primary_region = excluded.primary_region,
		key_store = excluded.key_store, xks_key = excluded.xks_key`,
		k.Account, k.Region, k.ID, k.Description, k.Manager, k.Spec, k.Usage, k.Origin, k.State, flag(k.MultiRegion),
		millis(k.Created), millis(k.DeletionDate), k.DeletionWindowDays, k.RotationPeriodDays, millis(k.NextRotation),
		k.PrimaryRegion, k.CustomKeyStoreID, k.XksKeyID)
	if err != nil {
		return err
	}
	return t.putMaterials(ctx, k)
}

func (t *Tx) putMaterials(ctx context.Context, k store.Key) error {
	if _, err := t.tx.ExecContext(ctx, `DELETE FROM kms_material WHERE account = ? AND region = ? AND key_id = ?`,
		k.Account, k.Region, k.ID); err != nil {
		return err
	}
	for _, m := range k.Materials {
		if _, err := t.tx.ExecContext(ctx, `INSERT INTO kms_material (account, region, key_id, number, backing, state,
			created, rotation, rotated, import_state, check_value, expires, description)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, k.Account, k.Region, k.ID, m.Number,
			m.Backing.String(), m.State, millis(m.Created), m.Rotation, millis(m.Rotated),
			m.Import, hex.EncodeToString(m.Check), millis(m.Expires), m.Description); err != nil {
			return err
		}
	}
	return nil
}

// DeleteKey implements [store.Tx].
func (t *Tx) DeleteKey(ctx context.Context, scope store.Scope, id string) error {
	return t.execOne(ctx, `DELETE FROM kms_key WHERE account = ? AND region = ? AND id = ?`, scope.Account, scope.Region, id)
}

func scanKey(row scanner) (store.Key, error) {
	var k store.Key
	var multiRegion int
	var created, deletion, rotation int64
	err := row.Scan(&k.Account, &k.Region, &k.ID, &k.Description, &k.Manager, &k.Spec, &k.Usage, &k.Origin, &k.State,
		&multiRegion, &created, &deletion, &k.DeletionWindowDays, &k.RotationPeriodDays, &rotation,
		&k.PrimaryRegion, &k.CustomKeyStoreID, &k.XksKeyID)
	k.MultiRegion = multiRegion != 0
	k.Created, k.DeletionDate, k.NextRotation = fromMillis(created), fromMillis(deletion), fromMillis(rotation)
	return k, err
}

func scanMaterial(row scanner) (store.Material, error) {
	var m store.Material
	var backing, check string
	var created, rotated, expires int64
	err := row.Scan(&m.Number, &backing, &m.State, &created, &m.Rotation, &rotated, &m.Import, &check, &expires, &m.Description)
	if err != nil {
		return m, err
	}
	m.Created, m.Rotated, m.Expires = fromMillis(created), fromMillis(rotated), fromMillis(expires)
	if check != "" {
		if m.Check, err = hex.DecodeString(check); err != nil {
			return m, err
		}
	}
	m.Backing, err = parseBacking(backing)
	return m, err
}

func parseBacking(text string) (id store.BackingID, err error) {
	if n, err := hex.Decode(id[:], []byte(text)[:min(len(text), 2*len(id))]); err != nil || n != len(id) {
		return id, fmt.Errorf("the store names a backing key by %q, which is no id", text)
	}
	return id, nil
}

func scanRef(row scanner) (store.KeyRef, error) {
	var ref store.KeyRef
	err := row.Scan(&ref.Account, &ref.Region, &ref.ID)
	return ref, err
}

func scanBacking(row scanner) (store.BackingID, error) {
	text, err := scanString(row)
	if err != nil {
		return store.BackingID{}, err
	}
	return parseBacking(text)
}

func scanString(row scanner) (string, error) {
	var s string
	err := row.Scan(&s)
	return s, err
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
