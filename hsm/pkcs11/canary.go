package pkcs11

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	p11 "github.com/miekg/pkcs11"
)

// canaryTrust is how long a canary that sang is believed, so that a stream of
// forged blobs doesn't double the load.
const canaryTrust = time.Second

var canaryAAD = []byte("kmsfs canary")

// canary decides what a module means that reports forged ciphertexts and faults
// of its own with one code: a ciphertext that is known to be good is decrypted
// with the same key in the same session. Its zero value is ready.
type canary struct {
	mu     sync.Mutex // guards what follows; held during calls into the module
	known  []byte     // a blob of the plaintext canaryAAD, nil until needed
	parsed blob
	sang   time.Time
}

// judge returns nil if the key works, so that what failed was a forgery; else an
// error of the class that tells what is broken.
func (c *canary) judge(api cryptoki, s session, key object, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.sang.IsZero() && now.Sub(c.sang) < canaryTrust {
		return nil
	}
	err := c.sing(api, s, key)
	switch classify(err) {
	case classAmbiguous, classAuth:
		return fmt.Errorf("a known good ciphertext is refused: %w", callResult(fnCanary, p11.CKR_GENERAL_ERROR))
	}
	if err == nil {
		c.sang = now
	}
	return err
}

// fnCanary stands for a decryption whose failure is never the ciphertext's fault.
const fnCanary = "C_Decrypt of a canary"

// sing makes the canary's ciphertext at first use and decrypts it.
func (c *canary) sing(api cryptoki, s session, key object) error {
	if c.known == nil {
		known, parsed := newBlob(algDirect, [saltSize]byte{}, len(canaryAAD))
		_, _ = rand.Read(parsed.iv) // never fails, see crypto/rand
		if err := sealInto(api, s, key, parsed, canaryAAD, canaryAAD); err != nil {
			return err
		}
		c.known, c.parsed = known, parsed
	}
	out := make([]byte, len(c.parsed.sealed))
	_, err := api.decrypt(s, key, c.parsed.iv, canaryAAD, c.parsed.sealed, out)
	return err
}
