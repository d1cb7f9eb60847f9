package pkcs11

import (
	"crypto/aes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	"github.com/kmsfs/kmsfs/hsm"
)

// subKeyLabel separates sub-keys from anything else that might be derived from a
// backing key.
const subKeyLabel = "kmsfs sub-key"

// newSalt draws the salt of a new epoch. The derivation by AES blocks numbers
// its two blocks in the first byte, which is therefore zero: 120 random bits.
func newSalt(alg algorithm) [saltSize]byte {
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // never fails, see crypto/rand
	if alg == algECB {
		salt[0] = 0
	}
	return salt
}

// sp800Input is the fixed input of NIST SP 800-108r1 section 4.1: label, zero
// byte, context and the output length of 256 bits. The token puts the 32-bit
// counter in front of it.
func sp800Input(salt [saltSize]byte) []byte {
	in := append([]byte(subKeyLabel), 0)
	in = append(in, salt[:]...)
	return binary.BigEndian.AppendUint32(in, 256)
}

// ecbInput is the pair of blocks 01||salt[1:] and 02||salt[1:].
func ecbInput(salt [saltSize]byte) []byte {
	in := make([]byte, 0, 2*saltSize)
	for i := byte(1); i <= 2; i++ {
		in = append(in, i)
		in = append(in, salt[1:]...)
	}
	return in
}

// deriveInSoftware computes what a token must derive from a known base key. Only
// the probe uses it, with keys made for the purpose.
func deriveInSoftware(base []byte, how hsm.Derivation, salt [saltSize]byte) ([]byte, error) {
	if how == hsm.DerivationSP800108 {
		mac := hmac.New(sha256.New, base)
		mac.Write([]byte{0, 0, 0, 1})
		mac.Write(sp800Input(salt))
		return mac.Sum(nil), nil
	}
	block, err := aes.NewCipher(base)
	if err != nil {
		return nil, err
	}
	out := ecbInput(salt)
	block.Encrypt(out[:aes.BlockSize], out[:aes.BlockSize])
	block.Encrypt(out[aes.BlockSize:], out[aes.BlockSize:])
	return out, nil
}
