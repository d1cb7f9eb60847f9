package envelope

import "crypto/rand"

// Sealed messages of the volume: salt || ciphertext || tag.
const (
	messageSaltSize = 24
	messageOverhead = messageSaltSize + tagSize
)

// messageKey seals small messages, any number of them: each has its own AES-256-GCM key
// HMAC-SHA256(subkey, salt) under a random 192-bit salt, and the zero nonce. With plain random
// 96-bit nonces, 2^32 messages would be the end of a key that can't be replaced.
type messageKey struct{ mac macKey }

// wipe overwrites the subkey.
func (k *messageKey) wipe() { k.mac.wipe() }

// seal appends salt || ciphertext || tag to dst.
func (k *messageKey) seal(dst, plain, aad []byte) []byte {
	salt := make([]byte, messageSaltSize)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the process instead
	return k.sealSalted(dst, salt, plain, aad)
}

// sealSalted is seal with a given salt, which must be random.
func (k *messageKey) sealSalted(dst, salt, plain, aad []byte) []byte {
	key := k.mac.mac(salt)
	aead := newAEAD(&key)
	dst = append(dst, salt...)
	dst = aead.Seal(dst, make([]byte, nonceSize), plain, aad)
	wipeAEAD(aead)
	clear(key[:])
	return dst
}

// open decrypts a message of seal into new memory.
func (k *messageKey) open(sealed, aad []byte) ([]byte, bool) {
	if len(sealed) < messageOverhead {
		return nil, false
	}
	key := k.mac.mac(sealed[:messageSaltSize])
	aead := newAEAD(&key)
	plain, err := aead.Open(nil, make([]byte, nonceSize), sealed[messageSaltSize:], aad)
	wipeAEAD(aead)
	clear(key[:])
	return plain, err == nil
}
