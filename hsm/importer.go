package hsm

import (
	"context"
	"crypto"
)

// Importer puts keys into the token that were made elsewhere.
type Importer interface {
	// ImportKey unwraps a key into the token: a token object with the id, usable
	// for what a key that was made there is, and just as little extractable from
	// then on. The key is not in plaintext outside of the token, but for what
	// [Capabilities.HostUnwrap] says.
	//
	// KindInvalidCiphertext if the wrapping is wrong, KindInvalidArgument if what
	// is inside isn't a key of the type, KindKeyExists if the id is taken,
	// KindKeyNotFound if there is no such wrapping key, KindUnsupported if the
	// token can't.
	ImportKey(ctx context.Context, id KeyID, wrapped WrappedKey, label string) error
}

// WrappedKey is a key wrapped for [Importer.ImportKey]. AES and HMAC keys are bare
// bytes, private keys PKCS #8 (RFC 5208).
type WrappedKey struct {
	Type    KeyType
	Purpose Purpose // of a private key
	// By is the wrapping key, made with PurposeUnwrap or PurposeUnwrapSHA256.
	By KeyID
	// Hash is that of RSAES-OAEP, SHA-1 or SHA-256, as the wrapping key's purpose
	// says.
	Hash crypto.Hash
	// AESKeyWrap is true for the mechanism CKM_RSA_AES_KEY_WRAP (PKCS #11 2.40
	// section 2.1.21): an AES key under RSAES-OAEP, then the key under that one by
	// RFC 5649. Otherwise the key itself is under RSAES-OAEP.
	AESKeyWrap bool
	Wrapped    []byte
}
