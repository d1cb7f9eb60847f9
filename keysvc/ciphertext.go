package keysvc

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// A ciphertext blob, version 1:
//
//	version(1) = 1 | backing key id(16) | what the token made of the plaintext
//
// The token authenticates, as additional data, these 17 bytes and the SHA-256 of
// the canonical encryption context.
//
// Version 2 is of keys in external key stores: behind the same 17 bytes is what the
// external key manager made of what the token made of the plaintext, see
// [xks.Ciphertext.Append]. What the token authenticates is as in version 1.
const (
	ciphertextVersion = 1
	externalVersion   = 2
	headerSize        = 1 + len(store.BackingID{})
	// maxCiphertext is the longest CiphertextBlob of the API, in bytes.
	maxCiphertext = 6144
)

// ciphertext is a parsed blob. It aliases the bytes that it was parsed from.
type ciphertext struct {
	version byte
	backing store.BackingID
	wrapped []byte
}

// parseCiphertext splits a blob. What it returns isn't authenticated yet.
func parseCiphertext(blob []byte) (ciphertext, error) {
	if len(blob) <= headerSize || blob[0] != ciphertextVersion && blob[0] != externalVersion {
		return ciphertext{}, &Error{Kind: KindInvalidCiphertext}
	}
	return ciphertext{
		version: blob[0],
		backing: store.BackingID(blob[1:headerSize]),
		wrapped: blob[headerSize:],
	}, nil
}

// additionalData is what the token authenticates beside the plaintext.
func additionalData(backing store.BackingID, context map[string]string) []byte {
	out := make([]byte, 0, headerSize+sha256.Size)
	out = append(append(out, ciphertextVersion), backing[:]...)
	digest := contextDigest(context)
	return append(out, digest[:]...)
}

// seal encrypts under the key's current material.
func (c *call) seal(k *keySnapshot, plaintext []byte, context map[string]string) ([]byte, error) {
	current, err := k.material()
	if err != nil {
		return nil, err
	}
	token, err := c.s.tokenOf(c.ctx, &k.Key)
	if err != nil {
		return nil, err
	}
	wrapped, err := token.Wrap(c.ctx, hsm.KeyID(current.Backing), plaintext, additionalData(current.Backing, context))
	if err != nil {
		return nil, fromToken(err)
	}
	version := byte(ciphertextVersion)
	if isExternal(&k.Key) {
		version = externalVersion
		if wrapped, err = c.sealExternally(k, wrapped, context); err != nil {
			return nil, err
		}
	}
	blob := make([]byte, 0, headerSize+len(wrapped))
	blob = append(append(blob, version), current.Backing[:]...)
	return append(blob, wrapped...), nil
}

// open decrypts what seal made. The caller owns the plaintext.
func (c *call) open(k *keySnapshot, ct ciphertext, context map[string]string) ([]byte, error) {
	token, err := c.s.tokenOf(c.ctx, &k.Key)
	if err != nil {
		return nil, err
	}
	if (ct.version == externalVersion) != isExternal(&k.Key) {
		return nil, &Error{Kind: KindInvalidCiphertext}
	}
	wrapped := ct.wrapped
	if isExternal(&k.Key) {
		if wrapped, err = c.openExternally(k, wrapped, context); err != nil {
			return nil, err
		}
	}
	plaintext, err := token.Unwrap(c.ctx, hsm.KeyID(ct.backing), wrapped, additionalData(ct.backing, context))
	if err != nil {
		return nil, fromToken(err)
	}
	return plaintext, nil
}

// materialID is the KeyMaterialId that AWS shows: 64 hexadecimal digits that are
// a function of the key and its material.
func materialID(keyID string, backing store.BackingID) string {
	sum := sha256.Sum256([]byte("kmsfs key material\x00" + keyID + "\x00" + backing.String()))
	return hex.EncodeToString(sum[:])
}

// shownMaterial is the KeyMaterialId of a key's answers; keys in custom key stores
// have none.
func shownMaterial(k *keySnapshot, backing store.BackingID) *string {
	at := slices.IndexFunc(k.Materials, func(m store.Material) bool { return m.Backing == backing })
	if k.CustomKeyStoreID != "" || at < 0 {
		return nil
	}
	return aws.String(k.materialIDs[at])
}
