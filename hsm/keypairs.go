package hsm

import (
	"context"
	"crypto"
)

// MaxMessage is the longest message that Sign (Ed25519) and MAC take, in bytes:
// the limit of the AWS KMS operations.
const MaxMessage = 4096

// KeyPairs are the operations with RSA and elliptic-curve keys. A public key is
// not secret: who verifies or encrypts does so in software (package
// hsm/publickey).
//
// Beside the errors that they name, all give KindUnsupported for what the token
// can't do, KindInvalidArgument for what no token can do with such a key, and
// KindKeyNotFound if there is no key pair of that id.
type KeyPairs interface {
	// GenerateKeyPair makes a key pair inside the token: token objects, the
	// private key sensitive, never extractable and usable for the one purpose.
	// It is returned only after it was seen to work. KindKeyExists if the id is
	// taken.
	GenerateKeyPair(ctx context.Context, id KeyID, t KeyType, purpose Purpose, label string) error

	// PublicKey returns the public key as the DER of a SubjectPublicKeyInfo
	// (RFC 5280, RFC 5480, RFC 8410).
	PublicKey(ctx context.Context, id KeyID) ([]byte, error)

	// Sign signs a digest made with hash, or with EdDSA (hash 0) a message of at
	// most [MaxMessage] bytes.
	Sign(ctx context.Context, id KeyID, scheme SignatureScheme, hash crypto.Hash, input []byte) ([]byte, error)

	// DecryptOAEP decrypts an RSAES-OAEP ciphertext with an empty label and hash
	// (SHA-1 or SHA-256) also in MGF1 (RFC 8017 section 7.1). Where the token
	// can't do that hash but raw RSA, the padding is removed in the process. The
	// caller owns the plaintext and should wipe it. KindInvalidCiphertext if the
	// ciphertext was not made for this key.
	DecryptOAEP(ctx context.Context, id KeyID, hash crypto.Hash, ciphertext []byte) ([]byte, error)

	// Agree computes the ECDH shared secret with a peer, given as an uncompressed
	// point (SEC 1 section 2.3.3) that the caller has checked to be on the curve:
	// the x coordinate (SP 800-56A section 5.7.1.2). The caller owns it and
	// should wipe it.
	Agree(ctx context.Context, id KeyID, peer []byte) ([]byte, error)
}

// MACKeys are the operations with HMAC keys (FIPS 198-1).
type MACKeys interface {
	// GenerateMACKey makes an HMAC key inside the token: a token object, as long
	// as the hash, sensitive, never extractable, usable for MAC alone.
	// KindKeyExists if the id is taken, KindUnsupported if the token can't.
	GenerateMACKey(ctx context.Context, id KeyID, t KeyType, label string) error

	// MAC computes the whole HMAC of 1 to [MaxMessage] bytes with the hash of the
	// key's type. KindKeyNotFound if there is no HMAC key of that id.
	MAC(ctx context.Context, id KeyID, t KeyType, message []byte) ([]byte, error)
}
