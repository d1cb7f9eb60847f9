package publickey

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"hash"
)

// WrapForImport wraps a secret of any length for the RSA key, as
// CKM_RSA_AES_KEY_WRAP does (PKCS #11 2.40 section 2.1.21): a fresh AES-256 key
// under RSAES-OAEP, then the secret under that key by RFC 5649.
func (k *Key) WrapForImport(h hash.Hash, secret []byte) ([]byte, error) {
	var kek [32]byte
	_, _ = rand.Read(kek[:]) // never fails, see crypto/rand
	defer clear(kek[:])
	envelope, err := k.EncryptOAEP(h, kek[:])
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(kek[:])
	if err != nil {
		return nil, err
	}
	return append(envelope, wrapPadded(block, secret)...), nil
}

// wrapPadded is the key wrap with padding of RFC 5649 section 4.1.
func wrapPadded(block cipher.Block, secret []byte) []byte {
	n := (len(secret) + 7) / 8
	out := make([]byte, 8*(n+1))
	copy(out, "\xa6\x59\x59\xa6")
	binary.BigEndian.PutUint32(out[4:], uint32(len(secret)))
	copy(out[8:], secret)
	if n == 1 {
		block.Encrypt(out, out)
		return out
	}
	var b [aes.BlockSize]byte
	defer clear(b[:])
	copy(b[:8], out)
	for j := range 6 {
		for i := 1; i <= n; i++ {
			copy(b[8:], out[8*i:])
			block.Encrypt(b[:], b[:])
			t := uint64(n*j + i)
			binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])^t)
			copy(out[8*i:], b[8:])
		}
	}
	copy(out, b[:8])
	return out
}
