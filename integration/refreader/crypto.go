package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
)

// failure is an error by the word that test vectors use for it.
type failure string

func (f failure) Error() string { return string(f) }

const (
	corrupt     failure = "corrupt"
	truncated   failure = "truncated"
	wrongKey    failure = "wrong key"
	unsupported failure = "unsupported"
	tooLarge    failure = "too large"
	moved       failure = "moved"
)

// subkey is section "Keys" of the format: HKDF with the salt of the object, and an info string that
// names version, purpose, suite and parameter.
func subkey(key, salt []byte, purpose string, parameter ...byte) []byte {
	prk, err := hkdf.Extract(sha256.New, key, salt)
	if err != nil {
		panic(err)
	}
	info := "kmsfs/1 " + purpose + "\x00\x01" + string(parameter)
	out, err := hkdf.Expand(sha256.New, prk, info, 32)
	if err != nil {
		panic(err)
	}
	return out
}

// mac is HMAC-SHA256 over the parts put together.
func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// open is AES-256-GCM.
func open(key, nonce, sealed, aad []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, nonce, sealed, aad)
	if err != nil {
		return nil, corrupt
	}
	return plain, nil
}

// openMessage opens salt || ciphertext || tag.
func openMessage(key, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < 24+16 {
		return nil, corrupt
	}
	return open(mac(key, sealed[:24]), make([]byte, 12), sealed[24:], aad)
}

// openDeterministic opens tag || ciphertext, where the tag's first 16 bytes start the counter.
func openDeterministic(macKey, encKey, header, sealed []byte, tagLen int) ([]byte, error) {
	if len(sealed) < tagLen {
		return nil, corrupt
	}
	block, err := aes.NewCipher(encKey)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(sealed)-tagLen)
	cipher.NewCTR(block, sealed[:16]).XORKeyStream(plain, sealed[tagLen:])
	if !hmac.Equal(sealed[:tagLen], mac(macKey, header, plain)[:tagLen]) {
		return nil, corrupt
	}
	return plain, nil
}
