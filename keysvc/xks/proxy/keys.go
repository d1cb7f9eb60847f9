package proxy

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"

	"github.com/kmsfs/kmsfs/keysvc/xks"
)

// KeySize is the length of an external key, in bytes.
const KeySize = 32

// Key is an external key.
type Key struct {
	gcm      cipher.AEAD
	disabled bool
	usage    []string
}

// NewKey returns a key of 32 bytes for encrypting and decrypting.
func NewKey(material []byte) (*Key, error) {
	if len(material) != KeySize {
		return nil, errors.New("an external key has 32 bytes")
	}
	block, err := aes.NewCipher(material)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	return &Key{gcm: gcm, usage: []string{"ENCRYPT", "DECRYPT"}}, err
}

// Disabled returns a key like k that is disabled.
func (k *Key) Disabled() *Key { return &Key{k.gcm, true, k.usage} }

// For returns a key like k that is for other operations.
func (k *Key) For(usage ...string) *Key { return &Key{k.gcm, k.disabled, usage} }

func (k *Key) metadata() *xks.KeyMetadata {
	status := "ENABLED"
	if k.disabled {
		status = "DISABLED"
	}
	return &xks.KeyMetadata{Spec: "AES_256", Usage: k.usage, Status: status}
}

// seal encrypts, and decrypts again before it vouches for the result.
func (k *Key) seal(in *xks.EncryptRequest) (*xks.EncryptAnswer, error) {
	iv := make([]byte, k.gcm.NonceSize())
	_, _ = rand.Read(iv) // never fails, see crypto/rand
	aad := boundAAD(in.AAD, nil)
	sealed := k.gcm.Seal(nil, iv, in.Plaintext, aad)
	n := len(in.Plaintext)
	out := &xks.EncryptAnswer{Ciphertext: xks.Ciphertext{Text: sealed[:n], IV: iv, Tag: sealed[n:]}}
	out.Integrity = out.Digest(in.AAD)
	again, err := k.gcm.Open(nil, iv, sealed, aad)
	clear(again)
	return out, err
}

func (k *Key) open(in *xks.DecryptRequest) ([]byte, error) {
	if len(in.IV) != k.gcm.NonceSize() || len(in.Tag) != k.gcm.Overhead() || len(in.Ciphertext.Metadata) > 0 {
		return nil, errors.New("no ciphertext of this proxy")
	}
	sealed := append(append([]byte(nil), in.Text...), in.Tag...)
	return k.gcm.Open(nil, in.IV, sealed, boundAAD(in.AAD, nil))
}

// boundAAD is the additional data for the cipher: aad and metadata, each behind
// its length, so that the one can't pass for the other.
func boundAAD(aad, metadata []byte) []byte {
	out := binary.BigEndian.AppendUint16(make([]byte, 0, 3+len(aad)+len(metadata)), uint16(len(aad)))
	out = append(append(out, aad...), byte(len(metadata)))
	return append(out, metadata...)
}
