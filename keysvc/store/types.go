package store

import (
	"encoding/hex"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Scope is one account in one region. Ids and names are unique in a scope.
type Scope struct {
	Account string // twelve digits
	Region  string
}

// BackingID names a backing key in the token (its CKA_ID).
type BackingID [16]byte

// String returns the id as 32 lower-case hexadecimal digits.
func (id BackingID) String() string { return hex.EncodeToString(id[:]) }

// Key is a KMS key (CMK). Times are kept to the millisecond; a zero time means
// "none".
type Key struct {
	Scope
	ID          string
	Description string
	Manager     types.KeyManagerType
	Spec        types.KeySpec
	Usage       types.KeyUsageType
	Origin      types.OriginType
	State       types.KeyState
	MultiRegion bool
	Created     time.Time

	// PrimaryRegion is the region of the primary among related multi-Region keys,
	// which have one id in several regions. "" for other keys.
	PrimaryRegion string

	DeletionDate       time.Time // set while State is PendingDeletion
	DeletionWindowDays int32     // set while State is PendingDeletion

	RotationPeriodDays int32     // 0 = automatic rotation is off
	NextRotation       time.Time // set while automatic rotation is on

	CustomKeyStoreID string    // "" = the service's own token
	XksKeyID         string    // the external key; only in an external key store
	KeyStore         *KeyStore // of CustomKeyStoreID, as read; not written with the key

	Materials []Material // by Number, oldest first
}

// KeyRef names a key.
type KeyRef struct {
	Scope
	ID string
}

// Ref returns the key's name.
func (k *Key) Ref() KeyRef { return KeyRef{Scope: k.Scope, ID: k.ID} }

// EffectiveState is the key state that AWS shows: a key that could be used or
// enabled is unavailable while its custom key store is not connected, and is as it
// was before once the store is connected again.
func (k *Key) EffectiveState() types.KeyState {
	usable := k.State == types.KeyStateEnabled || k.State == types.KeyStateDisabled
	if usable && k.CustomKeyStoreID != "" && !k.KeyStore.Connected() {
		return types.KeyStateUnavailable
	}
	return k.State
}

// MaterialState tells what a key's material is used for.
type MaterialState string

const (
	// MaterialCreating is being generated in the token and not in use yet.
	MaterialCreating MaterialState = "CREATING"
	// MaterialCurrent encrypts and decrypts. A usable key has exactly one.
	MaterialCurrent MaterialState = "CURRENT"
	// MaterialNonCurrent only decrypts.
	MaterialNonCurrent MaterialState = "NON_CURRENT"
	// MaterialPending was imported and becomes current by rotation.
	MaterialPending MaterialState = "PENDING_ROTATION"
	// MaterialPendingRegions was imported, but not yet into all related keys in other
	// regions; then it is MaterialPending.
	MaterialPendingRegions MaterialState = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"
)

// Material is one backing key of a KMS key; every rotation adds one.
type Material struct {
	Backing  BackingID
	Number   int // 1 for the first, counted up by rotation
	State    MaterialState
	Created  time.Time
	Rotation types.RotationType // "" for the first
	Rotated  time.Time          // when it became current by rotation

	// What follows is set for imported material only.

	// Import tells whether the token has it; "" if it was made there.
	Import      types.ImportState
	Check       []byte    // recognises the same material when it is imported again
	Expires     time.Time // zero = never
	Description string
}

// Import is a wrapping key in the token, made for one import.
type Import struct {
	Scope
	KeyID     string
	Backing   BackingID // of the wrapping key
	Algorithm types.AlgorithmSpec
	Expires   time.Time
}

// Current returns the material that encrypts, or nil while there is none.
func (k *Key) Current() *Material {
	for i := range k.Materials {
		if k.Materials[i].State == MaterialCurrent {
			return &k.Materials[i]
		}
	}
	return nil
}

// Alias is a name for a key.
type Alias struct {
	Name    string // with "alias/"
	KeyID   string
	Created time.Time
	Updated time.Time
}

// Grant lets a principal use a key.
type Grant struct {
	ID             string // 64 hexadecimal digits
	KeyID          string
	Name           string
	Grantee        string // principal ARN
	Retiring       string // principal ARN, or ""
	IssuingAccount string // ARN of the account's root
	Operations     []types.GrantOperation
	Constraints    *types.GrantConstraints // nil = none
	Created        time.Time
}

// GrantFilter selects grants; empty members select all.
type GrantFilter struct {
	KeyID    string
	GrantID  string
	Grantee  string
	Retiring string
}

// Tag is a tag of a key.
type Tag struct {
	Key   string
	Value string
}

// Usage is a key's last successful cryptographic operation.
type Usage struct {
	KeyRef
	Operation string
	At        time.Time
	RequestID string
	EventID   string // of the audit record
}
