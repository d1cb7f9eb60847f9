package pkcs11

import (
	"errors"

	"github.com/kmsfs/kmsfs/hsm"
)

// Sizes in bytes of the parts of a blob.
const (
	saltSize = 16
	ivSize   = 12
	tagSize  = 16
)

// algorithm is the first byte of a blob. Numbers are never reused. Those from 128 on
// are in no blob: they name handles in the keyring that don't wrap.
type algorithm byte

const (
	algDirect algorithm = 1 // AES-256-GCM under the backing key itself
	algSP800  algorithm = 2 // under a sub-key by SP 800-108 with HMAC-SHA-256
	algECB    algorithm = 3 // under a sub-key by AES-ECB of two blocks

	algPrivateKey algorithm = 128 // a private key
	algMACKey     algorithm = 129 // an HMAC key
)

// algorithmOf returns the algorithm of new blobs for a derivation.
func algorithmOf(d hsm.Derivation) algorithm {
	switch d {
	case hsm.DerivationSP800108:
		return algSP800
	case hsm.DerivationAESECB:
		return algECB
	}
	return algDirect
}

// derivation returns how the algorithm's sub-keys are derived.
func (a algorithm) derivation() hsm.Derivation {
	switch a {
	case algSP800:
		return hsm.DerivationSP800108
	case algECB:
		return hsm.DerivationAESECB
	}
	return hsm.DerivationNone
}

// headerSize is the length of algorithm byte and salt.
func (a algorithm) headerSize() int {
	if a == algDirect {
		return 1
	}
	return 1 + saltSize
}

// blob is a wrapped plaintext, taken apart. The slices alias its bytes.
type blob struct {
	alg    algorithm
	salt   [saltSize]byte
	iv     []byte
	sealed []byte // ciphertext and tag
}

// parseBlob splits a blob and checks every length, so that nothing malformed
// reaches the module.
func parseBlob(b []byte) (blob, error) {
	if len(b) == 0 {
		return blob{}, errors.New("the blob is empty")
	}
	alg := algorithm(b[0])
	if alg < algDirect || alg > algECB {
		return blob{}, errors.New("unknown blob algorithm")
	}
	n := len(b) - alg.headerSize() - ivSize - tagSize
	if n < 1 || n > hsm.MaxPlaintext {
		return blob{}, errors.New("the blob has an impossible length")
	}
	p := blob{alg: alg}
	copy(p.salt[:], b[1:alg.headerSize()])
	if alg == algECB && p.salt[0] != 0 {
		return blob{}, errors.New("the blob's salt is malformed")
	}
	p.iv = b[alg.headerSize():][:ivSize]
	p.sealed = b[alg.headerSize()+ivSize:]
	return p, nil
}

// newBlob lays out a blob for n bytes of plaintext. Its iv and sealed parts are
// still to be filled in.
func newBlob(alg algorithm, salt [saltSize]byte, n int) ([]byte, blob) {
	h := alg.headerSize()
	b := make([]byte, h+ivSize+n+tagSize)
	b[0] = byte(alg)
	if alg != algDirect {
		copy(b[1:h], salt[:])
	}
	return b, blob{alg: alg, salt: salt, iv: b[h:][:ivSize], sealed: b[h+ivSize:]}
}
