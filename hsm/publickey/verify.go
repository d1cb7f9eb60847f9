package publickey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"hash"
	"math/big"

	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/kmsfs/kmsfs/hsm"
)

// Verify tells whether a signature of a digest made with digestHash, or with
// EdDSA of a message, is good. A scheme that doesn't fit the key verifies nothing.
func (k *Key) Verify(scheme hsm.SignatureScheme, digestHash crypto.Hash, input, signature []byte) bool {
	switch scheme {
	case hsm.RSAPKCS1v15:
		return k.rsa != nil && rsa.VerifyPKCS1v15(k.rsa, digestHash, input, signature) == nil
	case hsm.RSAPSS:
		options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		return k.rsa != nil && rsa.VerifyPSS(k.rsa, digestHash, input, signature, options) == nil
	case hsm.ECDSA:
		return k.verifyECDSA(input, signature)
	case hsm.EdDSA:
		return k.ed != nil && ed25519.VerifyWithOptions(k.ed, input, signature, &ed25519.Options{}) == nil
	case hsm.EdDSAph:
		return k.ed != nil && ed25519.VerifyWithOptions(k.ed, input, signature, &ed25519.Options{Hash: crypto.SHA512}) == nil
	}
	return false
}

func (k *Key) verifyECDSA(digest, signature []byte) bool {
	if k.ec != nil {
		return ecdsa.VerifyASN1(k.ec, digest, signature)
	}
	if k.koblitz == nil {
		return false
	}
	s, err := secpecdsa.ParseDERSignature(signature)
	return err == nil && s.Verify(digest, k.koblitz)
}

// MaxOAEP is the longest plaintext that RSAES-OAEP with a hash of that many bytes
// carries under the key: 0 if none, or if the key isn't RSA.
func (k *Key) MaxOAEP(hashSize int) int {
	if k.rsa == nil {
		return 0
	}
	return max(0, k.rsa.Size()-2*hashSize-2)
}

// Encrypts tells whether the RSA key can have made a ciphertext, by its length and
// its size as a number.
func (k *Key) Encrypts(ciphertext []byte) bool {
	return k.rsa != nil && len(ciphertext) == k.rsa.Size() && new(big.Int).SetBytes(ciphertext).Cmp(k.rsa.N) < 0
}

// EncryptOAEP encrypts with RSAES-OAEP, an empty label and one hash. The plaintext
// must not be longer than MaxOAEP.
func (k *Key) EncryptOAEP(h hash.Hash, plaintext []byte) ([]byte, error) {
	if k.rsa == nil {
		return nil, errType
	}
	return rsa.EncryptOAEP(h, rand.Reader, k.rsa, plaintext, nil)
}
