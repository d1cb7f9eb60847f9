package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNotFound says that the named key, alias or grant isn't in the store.
var ErrNotFound = errors.New("not in the store")

// ErrExists says that an alias of that name is already in the store.
var ErrExists = errors.New("already in the store")

// ErrUnavailable says that the database can't be reached now. It may be back at any time.
var ErrUnavailable = errors.New("the database of the key service can't be reached")

// ErrUncertain says that the database was lost while an Update was committed, so that it may have been
// or not. It is an ErrUnavailable too.
var ErrUncertain = fmt.Errorf("%w, and whether the change was made is not known", ErrUnavailable)

// ErrText says that a text can't be stored: it has a zero byte or is not UTF-8.
var ErrText = errors.New("the text has a zero byte or is not UTF-8")

// Store is a transactional database of keys, aliases, grants, tags and custom key
// stores.
type Store interface {
	// View runs fn on a consistent, read-only state.
	View(ctx context.Context, fn func(Tx) error) error

	// Update runs fn in a transaction that excludes every other Update in every
	// process, and commits it, durably, if fn returns nil. fn may run more than
	// once and must not have effects that don't bear repeating. Nothing was committed
	// if it returns an error, unless that is ErrUncertain.
	Update(ctx context.Context, fn func(Tx) error) error

	// RecordUsage keeps of each key the newest use, of those given and the one that is
	// stored. Keys that aren't there are left out. It is no Update: nothing that anybody
	// caches changes, so the generation stays.
	RecordUsage(ctx context.Context, uses []Usage) error

	// Generation returns a number that differs from a [Tx.Generation] seen
	// before, through the same Store, if an Update has committed since, and
	// possibly even though none has. Of an Update by this Store that is so when it
	// returns; of one by another Store, within a time that the implementation
	// bounds, even if the database can't be reached. It is cheap enough to be
	// called on every operation and never blocks.
	Generation() uint64

	// Close releases the store. Transactions under way must have ended.
	Close() error
}

// Tx is the state inside a transaction. Its methods must not be used after the
// function that received it has returned. In a View, the methods that write
// return an error.
//
// Lists are sorted by the bytes of the name of what they list and start behind after. A transaction in
// which a method has failed, other than with ErrNotFound or ErrExists, can only fail as a whole.
type Tx interface {
	// Generation is the number of the state that the transaction reads.
	Generation() uint64

	// Key returns a key with its materials, or ErrNotFound.
	Key(ctx context.Context, scope Scope, id string) (Key, error)
	// KeyOfMaterial returns the key that owns a backing key, or ErrNotFound.
	KeyOfMaterial(ctx context.Context, scope Scope, backing BackingID) (Key, error)
	// KeyIDs lists the ids of a scope's keys.
	KeyIDs(ctx context.Context, scope Scope, after string, limit int) ([]string, error)
	// DueKeys returns keys of all scopes that wait for work at a time: deletion
	// or rotation that is due, imported material that has expired, or a key or
	// material begun before stale and never finished.
	DueKeys(ctx context.Context, now, stale time.Time) ([]KeyRef, error)
	// KeyRegions lists the regions in which an account has a key of the id.
	KeyRegions(ctx context.Context, account, id string) ([]string, error)
	// MaterialUsers counts the keys, of all scopes, that own a backing key and don't
	// wait for its import.
	MaterialUsers(ctx context.Context, backing BackingID) (int, error)
	// LastingMaterials returns some backing keys, of all scopes, that the service's own
	// token must have: current ones of keys that are neither being made nor deleted
	// and that neither a custom key store nor an import brings and takes away.
	LastingMaterials(ctx context.Context, limit int) ([]BackingID, error)
	// PutKey inserts a key or replaces it together with its materials.
	PutKey(ctx context.Context, key Key) error
	// DeleteKey removes a key with its materials, imports, aliases, policy, usage, grants and tags.
	DeleteKey(ctx context.Context, scope Scope, id string) error

	// PutImport adds a wrapping key.
	PutImport(ctx context.Context, i Import) error
	// Import returns a wrapping key, or ErrNotFound.
	Import(ctx context.Context, scope Scope, backing BackingID) (Import, error)
	// Imports lists the wrapping keys of a key.
	Imports(ctx context.Context, scope Scope, keyID string) ([]Import, error)
	// ExpiredImports lists wrapping keys of all scopes that have expired.
	ExpiredImports(ctx context.Context, now time.Time) ([]Import, error)
	// DeleteImport removes a wrapping key if it is there.
	DeleteImport(ctx context.Context, scope Scope, backing BackingID) error

	// Alias returns an alias by its full name ("alias/..."), or ErrNotFound.
	Alias(ctx context.Context, scope Scope, name string) (Alias, error)
	// Aliases lists a scope's aliases, or those of one key if keyID is set.
	Aliases(ctx context.Context, scope Scope, keyID, after string, limit int) ([]Alias, error)
	// CreateAlias adds an alias, or returns ErrExists.
	CreateAlias(ctx context.Context, scope Scope, alias Alias) error
	// UpdateAlias points an alias at another key, or returns ErrNotFound.
	UpdateAlias(ctx context.Context, scope Scope, alias Alias) error
	// DeleteAlias removes an alias, or returns ErrNotFound.
	DeleteAlias(ctx context.Context, scope Scope, name string) error

	// Policy returns the key policy that was put, or ErrNotFound if none was.
	Policy(ctx context.Context, scope Scope, keyID string) (string, error)
	// PutPolicy sets a key's policy.
	PutPolicy(ctx context.Context, scope Scope, keyID, document string) error

	// Usage returns a key's last recorded use, or ErrNotFound if there was none.
	Usage(ctx context.Context, scope Scope, keyID string) (Usage, error)
	// UsageSince returns the time from which on the store records uses.
	UsageSince(ctx context.Context) (time.Time, error)

	// Grants lists the grants that a filter selects, sorted by their ids.
	Grants(ctx context.Context, scope Scope, filter GrantFilter, after string, limit int) ([]Grant, error)
	// CreateGrant adds a grant.
	CreateGrant(ctx context.Context, scope Scope, grant Grant) error
	// DeleteGrant removes a grant, or returns ErrNotFound.
	DeleteGrant(ctx context.Context, scope Scope, keyID, grantID string) error

	// KeyStore returns a custom key store, or ErrNotFound.
	KeyStore(ctx context.Context, scope Scope, id string) (KeyStore, error)
	// KeyStores lists a scope's custom key stores, sorted by their ids.
	KeyStores(ctx context.Context, scope Scope, after string, limit int) ([]KeyStore, error)
	// PutKeyStore inserts a custom key store or replaces it.
	PutKeyStore(ctx context.Context, ks KeyStore) error
	// DeleteKeyStore removes a custom key store, or returns ErrNotFound. It fails
	// while there are keys in it.
	DeleteKeyStore(ctx context.Context, scope Scope, id string) error
	// KeysInStore lists the ids of the keys in a custom key store, or of those for
	// one external key if xksKeyID is set.
	KeysInStore(ctx context.Context, scope Scope, id, xksKeyID string, limit int) ([]string, error)

	// Tags lists the tags of a key, sorted by tag key.
	Tags(ctx context.Context, scope Scope, keyID string) ([]Tag, error)
	// PutTag adds a tag or replaces its value.
	PutTag(ctx context.Context, scope Scope, keyID string, tag Tag) error
	// DeleteTag removes a tag if it is there.
	DeleteTag(ctx context.Context, scope Scope, keyID, tagKey string) error
}
