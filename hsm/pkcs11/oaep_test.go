package pkcs11

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"slices"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
)

// TestPaddingIsRemovedAsTheStandardLibraryDoes decrypts in software and compares, also
// what was tampered with after the private-key operation, which a forger can't
// choose but every byte of which must count.
func TestPaddingIsRemovedAsTheStandardLibraryDoes(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for h, newHash := range oaepHashes {
		for _, n := range []int{0, 1, 32, 256 - 2*h.Size() - 2} {
			text := make([]byte, n)
			_, _ = rand.Read(text)
			sealed, err := rsa.EncryptOAEP(newHash(), rand.Reader, &key.PublicKey, text, nil)
			if err != nil {
				t.Fatal(err)
			}
			block := new(big.Int).Exp(new(big.Int).SetBytes(sealed), key.D, key.N).FillBytes(make([]byte, 256))
			got, err := unpadOAEP(newHash, bytes.Clone(block))
			if err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%v, %d bytes: %x, %v", h, n, got, err)
			}
			for i := range block {
				forged := bytes.Clone(block)
				forged[i] ^= 0x40
				got, err := unpadOAEP(newHash, forged)
				if err == nil && (i < 1+2*h.Size() || bytes.Equal(got, text)) {
					t.Fatalf("%v, %d bytes: byte %d changed goes unnoticed", h, n, i)
				}
			}
		}
		labelled, err := rsa.EncryptOAEP(newHash(), rand.Reader, &key.PublicKey, []byte("x"), []byte("label"))
		if err != nil {
			t.Fatal(err)
		}
		block := new(big.Int).Exp(new(big.Int).SetBytes(labelled), key.D, key.N).FillBytes(make([]byte, 256))
		_, err = unpadOAEP(newHash, block)
		wantKind(t, err, hsm.KindInvalidCiphertext)
		_, err = unpadOAEP(newHash, make([]byte, 2*h.Size()+1))
		wantKind(t, err, hsm.KindInvalidCiphertext)
	}
}

func TestSoftHSMDoesTheSHA256PaddingInTheProcess(t *testing.T) {
	for _, m := range modules {
		tok := open(t, m.make(t))
		id := hsm.NewKeyID()
		if err := tok.GenerateKeyPair(t.Context(), id, hsm.RSA2048, hsm.PurposeDecrypt, "test"); err != nil {
			t.Fatal(err)
		}
		public, err := tok.(*token).publicKey(t.Context(), "test", id)
		if err != nil {
			t.Fatal(err)
		}
		for h, newHash := range oaepHashes {
			sealed, err := public.EncryptOAEP(newHash(), []byte("text"))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tok.DecryptOAEP(t.Context(), id, h, sealed); err != nil || string(got) != "text" {
				t.Fatalf("%s, %v: %q, %v", m.name, h, got, err)
			}
		}
		if err := tok.GenerateKeyPair(t.Context(), hsm.NewKeyID(), hsm.RSA2048, hsm.PurposeUnwrapSHA256, "test"); err != nil {
			t.Fatal(err)
		}
		caps := tok.Capabilities()
		if !slices.Equal(caps.HostOAEP, inProcess[m.name]) || caps.HostUnwrap != (len(inProcess[m.name]) > 0) {
			t.Errorf("%s: padding removed here for %v, imports through here: %v", m.name, caps.HostOAEP, caps.HostUnwrap)
		}
	}
}
