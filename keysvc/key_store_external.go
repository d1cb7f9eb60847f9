package keysvc

import (
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/xks"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// maxExternalAAD is the longest additional data that every proxy takes, in bytes.
const maxExternalAAD = 8192

// What is encrypted under a key in an external key store is encrypted twice: in the
// service's token, then by the external key manager. Neither can decrypt alone.

// sealExternally has the key manager encrypt what the token has encrypted.
func (c *call) sealExternally(k *keySnapshot, wrapped []byte, context map[string]string) ([]byte, error) {
	client, err := c.proxyFor(&k.Key)
	if err != nil {
		return nil, err
	}
	ct, err := client.Encrypt(c.ctx, k.XksKeyID, wrapped, externalData(context), c.proxyMetadata(k))
	if err != nil {
		return nil, fromProxy(err)
	}
	return ct.Append(nil), nil
}

// openExternally reverses sealExternally.
func (c *call) openExternally(k *keySnapshot, blob []byte, context map[string]string) ([]byte, error) {
	ct, err := xks.ParseCiphertext(blob)
	if err != nil {
		return nil, &Error{Kind: KindInvalidCiphertext, Err: err}
	}
	client, err := c.proxyFor(&k.Key)
	if err != nil {
		return nil, err
	}
	wrapped, err := client.Decrypt(c.ctx, k.XksKeyID, ct, externalData(context), c.proxyMetadata(k))
	if err != nil {
		return nil, fromProxy(err)
	}
	return wrapped, nil
}

func (c *call) proxyFor(key *store.Key) (*xks.Client, error) {
	if !key.KeyStore.Connected() {
		return nil, refuse(KindInvalidState, "%s is unavailable.", keyARN(key.Scope, key.ID))
	}
	client, err := c.s.proxyOf(c.ctx, key.KeyStore)
	if err != nil {
		return nil, fromToken(err)
	}
	return client, nil
}

// externalData is what the key manager authenticates: the canonical encryption
// context or, of one that is too long for a proxy, its SHA-256.
func externalData(context map[string]string) []byte {
	data := canonicalContext(context)
	if len(data) <= maxExternalAAD {
		return data
	}
	digest := sha256.Sum256(data)
	return digest[:]
}

// proxyMetadata tells the proxy who calls what.
func (c *call) proxyMetadata(k *keySnapshot) xks.Metadata {
	m := xks.Metadata{Operation: c.op.name, RequestID: c.requestID()}
	switch c.op {
	case opCreateKeyStore, opUpdateKeyStore, opConnectKeyStore:
	default:
		m.PrincipalARN = c.caller.ARN
	}
	if k != nil {
		m.KeyARN = k.arn
	}
	return m
}

// probe makes sure that the proxy of a new or changed external key store answers.
func (c *call) probe(ks *store.KeyStore, secret []byte) error {
	if ks.Type != types.CustomKeyStoreTypeExternalKeyStore {
		return nil
	}
	client, err := newProxy(ks, secret)
	if err != nil {
		return &Error{Kind: KindXksConfiguration, Message: "The proxy URI endpoint must be https, or http on a loopback address.", Err: err}
	}
	defer client.Close()
	if _, err := client.Health(c.ctx, c.proxyMetadata(nil)); err != nil {
		return fromProxyAt(err, func(f proxyFailure) Kind { return f.atStore })
	}
	return nil
}

// checkExternalKey makes sure that an external key can be what a KMS key needs, and
// isn't another one's.
func (c *call) checkExternalKey(key *store.Key) error {
	var users []string
	err := c.s.config.Store.View(c.ctx, func(tx store.Tx) (err error) {
		users, err = tx.KeysInStore(c.ctx, c.scope, key.CustomKeyStoreID, key.XksKeyID, 1)
		return err
	})
	switch {
	case err != nil:
		return err
	case len(users) > 0:
		return xksKeyInUse(key)
	}
	client, err := c.proxyFor(key)
	if err != nil {
		return err
	}
	meta, err := client.Key(c.ctx, key.XksKeyID, c.proxyMetadata(nil))
	if err != nil {
		return fromProxyAt(err, func(f proxyFailure) Kind { return f.atKey })
	}
	if meta.Spec != "AES_256" || meta.Status != "ENABLED" || !slices.Contains(meta.Usage, "ENCRYPT") || !slices.Contains(meta.Usage, "DECRYPT") {
		return refuse(KindXksKeyConfiguration, "The external key %s must be an AES_256 key that is enabled and for encryption and decryption.", key.XksKeyID)
	}
	return nil
}

func xksKeyInUse(key *store.Key) error {
	return refuse(KindXksKeyInUse, "The external key %s is used by another KMS key in the custom key store %s.", key.XksKeyID, key.CustomKeyStoreID)
}

// fromProxy turns an error of a proxy into that of a cryptographic operation, which
// is always the same one.
func fromProxy(err error) error {
	return fromProxyAt(err, func(proxyFailure) Kind { return KindInvalidState })
}

func fromProxyAt(err error, kindOf func(proxyFailure) Kind) error {
	var e *xks.Error
	if !errors.As(err, &e) {
		return internal(err)
	}
	f := proxyFailures[e.Kind]
	return &Error{Kind: kindOf(f), Message: f.message, Err: err}
}

// proxyErrorCode is AWS's word for why a proxy can't be connected; false for what is
// no error of a proxy.
func proxyErrorCode(err error) (types.ConnectionErrorCodeType, bool) {
	kind, ok := xks.KindOf(err)
	if !ok {
		return "", false
	}
	return proxyFailures[kind].code, true
}
