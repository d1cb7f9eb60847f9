package hsm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// Sizes of what [Token.Wrap] and [Token.Unwrap] accept and add, in bytes.
const (
	// MaxPlaintext is the longest plaintext that Wrap takes (the limit of the
	// AWS KMS Encrypt operation).
	MaxPlaintext = 4096
	// MaxAAD is the longest additional authenticated data. Some modules limit
	// AES-GCM buffers to 16 KiB; the key service passes a digest anyway.
	MaxAAD = 8192
	// MaxOverhead is the most that Wrap adds to a plaintext: algorithm (1),
	// salt (16), IV (12), tag (16). Direct wrapping has no salt.
	MaxOverhead = 1 + 16 + 12 + 16
)

// KeyID names a backing key; it is the object's CKA_ID in the token. It is
// chosen by the caller, unique per token and not secret.
type KeyID [16]byte

// NewKeyID returns a random id.
func NewKeyID() KeyID {
	var id KeyID
	// Since Go 1.24 rand.Read never returns an error.
	_, _ = rand.Read(id[:])
	return id
}

// ParseKeyID reads the form that [KeyID.String] prints: 32 hexadecimal digits.
func ParseKeyID(s string) (KeyID, error) {
	var id KeyID
	if len(s) != hex.EncodedLen(len(id)) {
		return id, &Error{Op: "ParseKeyID", Kind: KindInvalidArgument,
			Err: fmt.Errorf("backing key id has %d characters, want %d hexadecimal digits", len(s), hex.EncodedLen(len(id)))}
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return KeyID{}, &Error{Op: "ParseKeyID", Kind: KindInvalidArgument, Err: err}
	}
	return id, nil
}

// String returns the id as 32 lower-case hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Token is one token of a hardware security module, opened and logged in.
//
// Methods return errors of type [*Error]. Every method but Info, Capabilities,
// Forget and Close honours its context; a context that ends first gives
// [KindCanceled].
type Token interface {
	// Info describes the token as the module reports it.
	Info() Info

	// Capabilities tells what the token was found to do when it was opened.
	Capabilities() Capabilities

	// GenerateKey makes an AES-256 backing key inside the token: a token object,
	// private, sensitive, never extractable, and usable only for what Wrap and
	// Unwrap need. The label is for people who list the token's objects.
	// KindKeyExists if the id is taken.
	GenerateKey(ctx context.Context, id KeyID, label string) error

	// HasKey asks the token itself, not a cache, whether the key exists.
	HasKey(ctx context.Context, id KeyID) (bool, error)

	// DestroyKey waits for operations under way on the key, of whatever type, forgets
	// what was cached of it and destroys it for ever, a key pair as a whole.
	// KindKeyNotFound if there is none.
	DestroyKey(ctx context.Context, id KeyID) error

	// Wrap encrypts a plaintext of 1 to [MaxPlaintext] bytes with AES-256-GCM,
	// authenticating aad (1 to [MaxAAD] bytes), and returns the blob
	//
	//	alg(1) | salt(16, absent for direct wrapping) | iv(12) | ct | tag(16)
	//
	// KindKeyNotFound if there is no such key, KindKeyExhausted if a token
	// without key derivation has wrapped as often as is safe under this key.
	Wrap(ctx context.Context, id KeyID, plaintext, aad []byte) ([]byte, error)

	// Unwrap reverses Wrap. The caller owns the result and should wipe it after
	// use. KindInvalidCiphertext if the blob was not made by Wrap with this key
	// and aad. A key that another process destroyed may still unwrap from
	// cached sub-keys until Forget.
	Unwrap(ctx context.Context, id KeyID, blob, aad []byte) ([]byte, error)

	// Random fills p from the token's random generator.
	Random(ctx context.Context, p []byte) error

	// Forget drops cached handles, session copies and derived sub-keys of id, so
	// that the next use asks the token again. It doesn't wait for operations
	// under way, which finish with what they hold.
	Forget(id KeyID)

	// Close logs out of the token once operations under way have ended. Later
	// calls give KindClosed.
	Close() error

	KeyPairs
	MACKeys
	Importer
}

// Info describes a token. All of it is public.
type Info struct {
	Label        string // CKA label, trailing blanks removed
	Serial       string // serial number
	Manufacturer string // manufacturer id
	Model        string // model
	Module       string // canonical path of the PKCS#11 module
	Library      string // description and version of the module
}
