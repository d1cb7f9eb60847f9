package sqltx

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNewerSchema says that a later version of this program has written the database.
var ErrNewerSchema = errors.New("a newer kmsfs has changed the schema of the database")

// migrations bring an empty database to the present schema, one version each.
// A released entry never changes; a new version is a new entry.
var migrations = [...][]string{{
	`CREATE TABLE kms_key (
		account TEXT NOT NULL, region TEXT NOT NULL, id TEXT NOT NULL,
		description TEXT NOT NULL, manager TEXT NOT NULL, spec TEXT NOT NULL,
		usage TEXT NOT NULL, origin TEXT NOT NULL, state TEXT NOT NULL,
		multi_region INTEGER NOT NULL, created BIGINT NOT NULL,
		deletion_date BIGINT NOT NULL, deletion_window INTEGER NOT NULL,
		rotation_period INTEGER NOT NULL, next_rotation BIGINT NOT NULL,
		PRIMARY KEY (account, region, id))`,
	`CREATE TABLE kms_material (
		account TEXT NOT NULL, region TEXT NOT NULL, key_id TEXT NOT NULL,
		number INTEGER NOT NULL, backing TEXT NOT NULL, state TEXT NOT NULL,
		created BIGINT NOT NULL, rotation TEXT NOT NULL, rotated BIGINT NOT NULL,
		PRIMARY KEY (account, region, key_id, number),
		FOREIGN KEY (account, region, key_id) REFERENCES kms_key ON DELETE CASCADE)`,
	`CREATE UNIQUE INDEX kms_material_backing ON kms_material (account, region, backing)`,
	`CREATE TABLE kms_alias (
		account TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,
		key_id TEXT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL,
		PRIMARY KEY (account, region, name),
		FOREIGN KEY (account, region, key_id) REFERENCES kms_key ON DELETE CASCADE)`,
	`CREATE INDEX kms_alias_key ON kms_alias (account, region, key_id)`,
	`CREATE TABLE kms_grant (
		account TEXT NOT NULL, region TEXT NOT NULL, key_id TEXT NOT NULL,
		id TEXT NOT NULL, name TEXT NOT NULL, grantee TEXT NOT NULL,
		retiring TEXT NOT NULL, issuing_account TEXT NOT NULL,
		operations TEXT NOT NULL, constraints TEXT NOT NULL, created BIGINT NOT NULL,
		PRIMARY KEY (account, region, key_id, id),
		FOREIGN KEY (account, region, key_id) REFERENCES kms_key ON DELETE CASCADE)`,
	`CREATE INDEX kms_grant_retiring ON kms_grant (account, region, retiring)`,
	`CREATE TABLE kms_tag (
		account TEXT NOT NULL, region TEXT NOT NULL, key_id TEXT NOT NULL,
		tag_key TEXT NOT NULL, tag_value TEXT NOT NULL,
		PRIMARY KEY (account, region, key_id, tag_key),
		FOREIGN KEY (account, region, key_id) REFERENCES kms_key ON DELETE CASCADE)`,
}, {
	`CREATE TABLE kms_key_store (
		account TEXT NOT NULL, region TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL,
		type TEXT NOT NULL, cluster TEXT NOT NULL, trust_anchor TEXT NOT NULL,
		xks_endpoint TEXT NOT NULL, xks_path TEXT NOT NULL, xks_access_key TEXT NOT NULL,
		backing TEXT NOT NULL, secret TEXT NOT NULL, state TEXT NOT NULL, error_code TEXT NOT NULL,
		revision BIGINT NOT NULL, created BIGINT NOT NULL,
		PRIMARY KEY (account, region, id))`,
	`ALTER TABLE kms_key ADD COLUMN key_store TEXT NOT NULL DEFAULT ''`,
	`ALTER TABLE kms_key ADD COLUMN xks_key TEXT NOT NULL DEFAULT ''`,
	`CREATE INDEX kms_key_in_store ON kms_key (account, region, key_store) WHERE key_store <> ''`,
}, { // imported material and multi-Region keys
	`ALTER TABLE kms_key ADD COLUMN primary_region TEXT NOT NULL DEFAULT ''`,
	`ALTER TABLE kms_material ADD COLUMN import_state TEXT NOT NULL DEFAULT ''`,
	`ALTER TABLE kms_material ADD COLUMN check_value TEXT NOT NULL DEFAULT ''`,
	`ALTER TABLE kms_material ADD COLUMN expires BIGINT NOT NULL DEFAULT 0`,
	`ALTER TABLE kms_material ADD COLUMN description TEXT NOT NULL DEFAULT ''`,
	`CREATE TABLE kms_import (
		account TEXT NOT NULL, region TEXT NOT NULL, key_id TEXT NOT NULL,
		backing TEXT NOT NULL, algorithm TEXT NOT NULL, expires BIGINT NOT NULL,
		PRIMARY KEY (account, region, backing),
		FOREIGN KEY (account, region, key_id) REFERENCES kms_key ON DELETE CASCADE)`,
}, { // key policies
	`CREATE TABLE kms_policy (
		account TEXT NOT NULL, region TEXT NOT NULL, key_id TEXT NOT NULL,
		document TEXT NOT NULL,
		PRIMARY KEY (account, region, key_id),
		FOREIGN KEY (account, region, key_id) REFERENCES kms_key ON DELETE CASCADE)`,
}, { // the last use of each key, and since when it is recorded
	`CREATE TABLE kms_usage (
		account TEXT NOT NULL, region TEXT NOT NULL, key_id TEXT NOT NULL,
		operation TEXT NOT NULL, used BIGINT NOT NULL,
		request_id TEXT NOT NULL, event_id TEXT NOT NULL,
		PRIMARY KEY (account, region, key_id),
		FOREIGN KEY (account, region, key_id) REFERENCES kms_key ON DELETE CASCADE)`,
	`ALTER TABLE kms_store ADD COLUMN usage_since BIGINT NOT NULL DEFAULT 0`,
}}

// bookkeeping holds the schema version and the generation, one row.
const bookkeeping = `CREATE TABLE IF NOT EXISTS kms_store (
	one INTEGER PRIMARY KEY, schema_version INTEGER NOT NULL, generation BIGINT NOT NULL)`

// Migrate brings the database to the present schema inside tx and returns its
// generation. It refuses a database that a later version has written.
func Migrate(ctx context.Context, tx Conn) (generation uint64, err error) {
	if _, err := tx.ExecContext(ctx, bookkeeping); err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO kms_store (one, schema_version, generation) VALUES (1, 0, 0) ON CONFLICT (one) DO NOTHING`); err != nil {
		return 0, err
	}
	version, err := schemaVersion(ctx, tx)
	if err != nil {
		return 0, err
	}
	if version < len(migrations) {
		if err := apply(ctx, tx, migrations[version:]); err != nil {
			return 0, err
		}
	}
	return Generation(ctx, tx)
}

// Current tells whether a database that Migrate has made, in this version or another, has the present
// schema.
func Current(ctx context.Context, tx Conn) (bool, error) {
	version, err := schemaVersion(ctx, tx)
	return version == len(migrations), err
}

// schemaVersion refuses a version that this program doesn't know.
func schemaVersion(ctx context.Context, tx Conn) (version int, err error) {
	if err := tx.QueryRowContext(ctx, `SELECT schema_version FROM kms_store`).Scan(&version); err != nil {
		return 0, err
	}
	if version > len(migrations) {
		return 0, fmt.Errorf("%w: it has version %d, this program knows %d", ErrNewerSchema, version, len(migrations))
	}
	return version, nil
}

func apply(ctx context.Context, tx Conn, versions [][]string) error {
	for _, statements := range versions {
		for _, s := range statements {
			if _, err := tx.ExecContext(ctx, s); err != nil {
				return err
			}
		}
	}
	_, err := tx.ExecContext(ctx, `UPDATE kms_store SET schema_version = ?, usage_since = CASE WHEN usage_since = 0 THEN ? ELSE usage_since END`,
		len(migrations), millis(time.Now()))
	return err
}
