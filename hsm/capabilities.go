package hsm

import "crypto"

// Derivation is a way of deriving a sub-key from a backing key inside the
// token. Its name is what Capabilities and logs show.
type Derivation string

const (
	// DerivationNone means that the token can't derive: blobs are wrapped
	// directly under the backing key and their number is limited.
	DerivationNone Derivation = "none"
	// DerivationSP800108 is the counter-mode KDF of NIST SP 800-108r1 with
	// HMAC-SHA-256 (CKM_SP800_108_COUNTER_KDF).
	DerivationSP800108 Derivation = "sp800-108-counter-hmac-sha256"
	// DerivationAESECB is the same counter construction with AES as the
	// pseudo-random function (CKM_AES_ECB_ENCRYPT_DATA).
	DerivationAESECB Derivation = "aes-ecb-encrypt-data"
)

// Capabilities is what probing by known answers found when the token was
// opened. Mechanism lists are not believed.
type Capabilities struct {
	// Derivations lists the working derivations, preferred first; empty means
	// direct wrapping.
	Derivations []Derivation
	// KnownAnswer is true when results were compared with answers computed in
	// software; false when the token refuses to import a test key, and
	// consistency checks had to do.
	KnownAnswer bool
	// TokenIV is true when the module replaces the caller's IV by its own.
	TokenIV bool
	// SessionCopies is true when a token key can be copied to a session object.
	SessionCopies bool
	// AmbiguousAuthFailure is true when the module reports a forged ciphertext
	// with the same code as a fault of its own.
	AmbiguousAuthFailure bool
	// EnforcesNonExtractable is true when the module refused both to copy a
	// non-extractable key to an extractable one and to wrap it. A module that
	// doesn't refuse is no boundary against whoever has the PIN.
	EnforcesNonExtractable bool
	// HostOAEP lists the hashes whose RSAES-OAEP padding the process removes after
	// raw RSA in the token, as was found at the first use of each.
	HostOAEP []crypto.Hash
	// HostUnwrap is true when the token turned out not to unwrap with RSAES-OAEP and
	// SHA-256: then what that wrapping protects, the imported key or the AES key
	// around it, passes through the process for a moment.
	HostUnwrap bool
}

// Derivation returns the derivation used for new blobs.
func (c Capabilities) Derivation() Derivation {
	if len(c.Derivations) == 0 {
		return DerivationNone
	}
	return c.Derivations[0]
}
