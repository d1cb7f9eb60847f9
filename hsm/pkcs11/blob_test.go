package pkcs11

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
)

func FuzzParseBlob(f *testing.F) {
	for _, alg := range []algorithm{algDirect, algSP800, algECB} {
		b, _ := newBlob(alg, newSalt(alg), 32)
		f.Add(b)
		f.Add(b[:len(b)-32])
	}
	f.Add([]byte{})
	f.Add([]byte{4})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseBlob(b)
		if err != nil {
			return
		}
		n := len(p.sealed) - tagSize
		if len(p.iv) != ivSize || n < 1 || n > hsm.MaxPlaintext {
			t.Fatalf("iv of %d, plaintext of %d bytes", len(p.iv), n)
		}
		again, q := newBlob(p.alg, p.salt, n)
		copy(q.iv, p.iv)
		copy(q.sealed, p.sealed)
		if !bytes.Equal(again, b) {
			t.Fatal("a blob has two encodings")
		}
	})
}

// TestDerivationVectors holds the derivations to values computed by OpenSSL: KBKDF
// (label "kmsfs sub-key") and AES-256-ECB.
func TestDerivationVectors(t *testing.T) {
	var base [32]byte
	var salt [saltSize]byte
	for i := range base {
		base[i] = byte(i)
	}
	for i := range salt {
		salt[i] = 0xa0 + byte(i)
	}
	for how, want := range map[hsm.Derivation]string{
		hsm.DerivationSP800108: "87ee57057e10ceff5ecf00c602266b2f657f20893dccb1cbc77ebefefe84d18a",
		hsm.DerivationAESECB:   "9ac1948370639136b9deebd31bf6ab65c2fdcc376e36d503911378e22eb22dd9",
	} {
		got, err := deriveInSoftware(base[:], how, salt)
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%s = %x, %v", how, got, err)
		}
	}
}

// TestAlgorithmNumbersAreFrozen keeps old blobs readable.
func TestAlgorithmNumbersAreFrozen(t *testing.T) {
	for how, want := range map[hsm.Derivation]algorithm{hsm.DerivationNone: 1, hsm.DerivationSP800108: 2, hsm.DerivationAESECB: 3} {
		if got := algorithmOf(how); got != want || got.derivation() != how {
			t.Errorf("%s is algorithm %d, and that is %s", how, got, got.derivation())
		}
	}
}

func TestSaltsAreFreshAndFit(t *testing.T) {
	seen := map[[saltSize]byte]bool{}
	for range 100 {
		s := newSalt(algECB)
		if s[0] != 0 || seen[s] {
			t.Fatalf("salt %x", s)
		}
		seen[s] = true
	}
}

func TestShimRefusesUnsafeParameters(t *testing.T) {
	b := newBench(t, nil)
	c := b.conn.Load()
	var sub *subKey
	for _, s := range c.keys.subs {
		sub = s
	}
	buf := make([]byte, 64)
	for name, call := range map[string]struct{ iv, aad, out []byte }{
		"empty IV":     {nil, testAAD, buf},
		"16-byte IV":   {buf[:16], testAAD, buf},
		"empty aad":    {buf[:12], nil, buf},
		"short output": {buf[:12], testAAD, buf[:10]},
	} {
		if _, err := b.f.cryptoki.encrypt(c.anchor, sub.handle, call.iv, call.aad, b.plain, call.out); err == nil {
			t.Errorf("encrypt with %s succeeds", name)
		}
		if _, err := b.f.cryptoki.decrypt(c.anchor, sub.handle, call.iv, call.aad, b.blob[:48], call.out); err == nil {
			t.Errorf("decrypt with %s succeeds", name)
		}
	}
	if err := b.unwrap(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
