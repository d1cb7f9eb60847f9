package store

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// KeyStore is a custom key store: a second token, or a proxy to an external key
// manager, that holds the material of some keys.
type KeyStore struct {
	Scope
	ID   string // "cks-" and 17 hexadecimal digits
	Name string
	Type types.CustomKeyStoreType

	ClusterID   string // AWS_CLOUDHSM: names the token
	TrustAnchor string // AWS_CLOUDHSM: a certificate in PEM, or ""

	XksEndpoint  string // EXTERNAL_KEY_STORE: URL without a path
	XksPath      string // EXTERNAL_KEY_STORE: what every path begins with
	XksAccessKey string // EXTERNAL_KEY_STORE: id of the access key

	// Secret is the token's PIN or the proxy's secret access key, wrapped in the
	// service's own token by the backing key Backing, which is there for nothing
	// else.
	Backing BackingID
	Secret  []byte

	State     types.ConnectionStateType
	ErrorCode types.ConnectionErrorCodeType // of State FAILED
	// Revision counts what makes an open connection void: connecting and changed
	// settings.
	Revision int64
	Created  time.Time
}

// KeyStoreRef names a custom key store.
type KeyStoreRef struct {
	Scope
	ID string
}

// Ref returns the key store's name.
func (s *KeyStore) Ref() KeyStoreRef { return KeyStoreRef{Scope: s.Scope, ID: s.ID} }

// Connected tells whether keys in the key store can be used. A key store that
// isn't there isn't connected.
func (s *KeyStore) Connected() bool {
	return s != nil && s.State == types.ConnectionStateTypeConnected
}
