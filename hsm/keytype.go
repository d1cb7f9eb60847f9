package hsm

import "crypto"

// KeyType is the kind and size of a backing key. AES256 is what
// [Token.GenerateKey] makes.
type KeyType string

// The types of backing keys.
const (
	AES256 KeyType = "AES-256"

	RSA2048   KeyType = "RSA-2048"
	RSA3072   KeyType = "RSA-3072"
	RSA4096   KeyType = "RSA-4096"
	P256      KeyType = "P-256"
	P384      KeyType = "P-384"
	P521      KeyType = "P-521"
	Secp256k1 KeyType = "secp256k1"
	Ed25519   KeyType = "Ed25519"

	HMAC224 KeyType = "HMAC-224"
	HMAC256 KeyType = "HMAC-256"
	HMAC384 KeyType = "HMAC-384"
	HMAC512 KeyType = "HMAC-512"
)

// RSABits returns the length of an RSA key's modulus, 0 for other types.
func (t KeyType) RSABits() int {
	return map[KeyType]int{RSA2048: 2048, RSA3072: 3072, RSA4096: 4096}[t]
}

// CoordinateSize returns the length in bytes of a coordinate on the curve of an
// ECDSA or ECDH key, 0 for other types.
func (t KeyType) CoordinateSize() int {
	return map[KeyType]int{P256: 32, P384: 48, P521: 66, Secp256k1: 32}[t]
}

// MACHash returns the hash of an HMAC key, 0 for other types. The key is as long
// as the hash.
func (t KeyType) MACHash() crypto.Hash {
	return map[KeyType]crypto.Hash{HMAC224: crypto.SHA224, HMAC256: crypto.SHA256, HMAC384: crypto.SHA384, HMAC512: crypto.SHA512}[t]
}

// Purpose is the one thing that a private key is for; the token refuses others.
type Purpose int

const (
	// PurposeSign is for [KeyPairs.Sign].
	PurposeSign Purpose = iota + 1
	// PurposeDecrypt is for [KeyPairs.DecryptOAEP], RSA only.
	PurposeDecrypt
	// PurposeAgree is for [KeyPairs.Agree], P-256, P-384 and P-521 only.
	PurposeAgree
	// PurposeUnwrap is for [Importer.ImportKey] with SHA-1, RSA only.
	PurposeUnwrap
	// PurposeUnwrapSHA256 is the same with SHA-256, which not all tokens do.
	PurposeUnwrapSHA256
)

// SignatureScheme is how a digest or message becomes a signature.
type SignatureScheme string

const (
	// RSAPKCS1v15 is RSASSA-PKCS1-v1_5 of a digest (RFC 8017 section 8.2).
	RSAPKCS1v15 SignatureScheme = "RSASSA-PKCS1-v1_5"
	// RSAPSS is RSASSA-PSS of a digest with a salt as long as the hash, and the
	// same hash in MGF1 (RFC 8017 section 8.1).
	RSAPSS SignatureScheme = "RSASSA-PSS"
	// ECDSA of a digest; signatures are DER (FIPS 186-5 section 6).
	ECDSA SignatureScheme = "ECDSA"
	// EdDSA is Ed25519 of a message (RFC 8032 section 5.1).
	EdDSA SignatureScheme = "Ed25519"
	// EdDSAph is Ed25519ph of a SHA-512 digest with an empty context.
	EdDSAph SignatureScheme = "Ed25519ph"
)
