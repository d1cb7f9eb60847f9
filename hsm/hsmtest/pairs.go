package hsmtest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"
)

// RunKeys runs the part of the suite about key pairs and HMAC keys. What a token
// can't do it must say with KindUnsupported, and must not be in can (see
// [Features]). RSA beyond 2048 bits takes seconds and is left out with -short.
func RunKeys(t *testing.T, open func(t *testing.T) hsm.Token, can []Feature) {
	tok := Open(open).opened(t)
	for _, f := range Features() {
		t.Run(f.String(), func(t *testing.T) {
			if testing.Short() && f.Slow() {
				t.Skip("RSA key generation takes seconds")
			}
			err := f.Try(t.Context(), tok)
			expected := false
			for _, c := range can {
				expected = expected || c == f
			}
			switch {
			case expected && err != nil:
				t.Error(err)
			case !expected && err == nil:
				t.Error("the token can do this, although it is not expected to")
			case !expected && !hsm.IsKind(err, hsm.KindUnsupported):
				t.Errorf("what the token can't do is refused with %v", err)
			}
		})
	}
	for _, c := range []struct {
		name string
		test func(*testing.T, hsm.Token)
	}{
		{"KeysHaveOnePurpose", testPurpose},
		{"PairsAreDestroyedAsAWhole", testDestroyPair},
		{"PairIDsAreUnique", testPairExists},
		{"UnknownPairsAreNotFound", testUnknownPair},
		{"BadArgumentsOfPairsAreRefused", testPairArguments},
		{"ForeignCiphertextsAreRefused", testForeignOAEP},
		{"PairsAreUsedConcurrently", testPairConcurrency},
		{"EndedContextCancelsPairOperations", testPairContext},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, tok) })
	}
}

// newPair makes a key pair for the time of a test.
func newPair(t *testing.T, tok hsm.Token, typ hsm.KeyType, purpose hsm.Purpose) (hsm.KeyID, *publickey.Key) {
	t.Helper()
	id := hsm.NewKeyID()
	if err := tok.GenerateKeyPair(t.Context(), id, typ, purpose, "hsmtest "+t.Name()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tok.DestroyKey(context.Background(), id); err != nil && !hsm.IsKind(err, hsm.KindKeyNotFound) {
			t.Errorf("DestroyKey: %v", err)
		}
	})
	return id, publicOf(t, tok, id)
}

func publicOf(t *testing.T, tok hsm.Token, id hsm.KeyID) *publickey.Key {
	t.Helper()
	der, err := tok.PublicKey(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	k, err := publickey.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testPurpose(t *testing.T, tok hsm.Token) {
	signing, _ := newPair(t, tok, hsm.P256, hsm.PurposeSign)
	agreeing, peer := newPair(t, tok, hsm.P256, hsm.PurposeAgree)
	digest := make([]byte, 32)
	point, err := peer.Point()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tok.Sign(t.Context(), agreeing, hsm.ECDSA, crypto.SHA256, digest); err == nil {
		t.Error("a key for agreement signs")
	}
	if _, err := tok.Agree(t.Context(), signing, point); err == nil {
		t.Error("a key for signing agrees")
	}
	if _, err := tok.Sign(t.Context(), signing, hsm.ECDSA, crypto.SHA256, digest); err != nil {
		t.Error(err)
	}
	if _, err := tok.Wrap(t.Context(), agreeing, digest, testAAD); !hsm.IsKind(err, hsm.KindKeyNotFound) {
		t.Errorf("a key pair wraps: %v", err)
	}
	if _, err := tok.MAC(t.Context(), signing, hsm.HMAC256, digest); !hsm.IsKind(err, hsm.KindKeyNotFound) {
		t.Errorf("a key pair makes MACs: %v", err)
	}
}

func testDestroyPair(t *testing.T, tok hsm.Token) {
	id, _ := newPair(t, tok, hsm.P256, hsm.PurposeSign)
	if ok, err := tok.HasKey(t.Context(), id); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := tok.DestroyKey(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if ok, err := tok.HasKey(t.Context(), id); ok || err != nil {
		t.Error(ok, err)
	}
	_, err := tok.PublicKey(t.Context(), id)
	wantKind(t, err, hsm.KindKeyNotFound)
	_, err = tok.Sign(t.Context(), id, hsm.ECDSA, crypto.SHA256, make([]byte, 32))
	wantKind(t, err, hsm.KindKeyNotFound)
	wantKind(t, tok.DestroyKey(t.Context(), id), hsm.KindKeyNotFound)
}

func testPairExists(t *testing.T, tok hsm.Token) {
	id, _ := newPair(t, tok, hsm.P256, hsm.PurposeSign)
	wantKind(t, tok.GenerateKeyPair(t.Context(), id, hsm.P256, hsm.PurposeSign, "again"), hsm.KindKeyExists)
	wantKind(t, tok.GenerateMACKey(t.Context(), id, hsm.HMAC256, "again"), hsm.KindKeyExists)
	wantKind(t, tok.GenerateKey(t.Context(), id, "again"), hsm.KindKeyExists)
	if _, err := tok.Sign(t.Context(), id, hsm.ECDSA, crypto.SHA256, make([]byte, 32)); err != nil {
		t.Error(err)
	}
}

func testUnknownPair(t *testing.T, tok hsm.Token) {
	symmetric := newKey(t, tok)
	for _, id := range []hsm.KeyID{hsm.NewKeyID(), symmetric} {
		_, err := tok.PublicKey(t.Context(), id)
		wantKind(t, err, hsm.KindKeyNotFound)
		_, err = tok.Sign(t.Context(), id, hsm.ECDSA, crypto.SHA256, make([]byte, 32))
		wantKind(t, err, hsm.KindKeyNotFound)
		_, err = tok.DecryptOAEP(t.Context(), id, crypto.SHA1, make([]byte, 256))
		wantKind(t, err, hsm.KindKeyNotFound)
		_, err = tok.Agree(t.Context(), id, make([]byte, 65))
		wantKind(t, err, hsm.KindKeyNotFound)
		_, err = tok.MAC(t.Context(), id, hsm.HMAC256, testAAD)
		wantKind(t, err, hsm.KindKeyNotFound)
	}
}

func testPairArguments(t *testing.T, tok hsm.Token) {
	id, _ := newPair(t, tok, hsm.P256, hsm.PurposeAgree)
	for name, err := range map[string]error{
		"RSA for agreement":    tok.GenerateKeyPair(t.Context(), hsm.NewKeyID(), hsm.RSA2048, hsm.PurposeAgree, ""),
		"EC for decryption":    tok.GenerateKeyPair(t.Context(), hsm.NewKeyID(), hsm.P256, hsm.PurposeDecrypt, ""),
		"no purpose":           tok.GenerateKeyPair(t.Context(), hsm.NewKeyID(), hsm.P256, 0, ""),
		"no type":              tok.GenerateKeyPair(t.Context(), hsm.NewKeyID(), "", hsm.PurposeSign, ""),
		"a pair that is a MAC": tok.GenerateMACKey(t.Context(), hsm.NewKeyID(), hsm.P256, ""),
		"short digest":         second(tok.Sign(t.Context(), id, hsm.ECDSA, crypto.SHA256, make([]byte, 31))),
		"unknown scheme":       second(tok.Sign(t.Context(), id, "x", crypto.SHA256, make([]byte, 32))),
		"long message":         second(tok.Sign(t.Context(), id, hsm.EdDSA, 0, make([]byte, hsm.MaxMessage+1))),
		"long MAC message":     second(tok.MAC(t.Context(), id, hsm.HMAC256, make([]byte, hsm.MaxMessage+1))),
		"no MAC message":       second(tok.MAC(t.Context(), id, hsm.HMAC256, nil)),
		"short point":          second(tok.Agree(t.Context(), id, make([]byte, 64))),
		"unknown OAEP hash":    second(tok.DecryptOAEP(t.Context(), id, crypto.MD5, make([]byte, 256))),
	} {
		if !hsm.IsKind(err, hsm.KindInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second(_ []byte, err error) error { return err }

func testForeignOAEP(t *testing.T, tok hsm.Token) {
	id, public := newPair(t, tok, hsm.RSA2048, hsm.PurposeDecrypt)
	for hash, newHash := range oaepHashes {
		good, err := public.EncryptOAEP(newHash(), []byte("plaintext"))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(good); i += 51 {
			forged := bytes.Clone(good)
			forged[i] ^= 1
			_, err := tok.DecryptOAEP(t.Context(), id, hash, forged)
			wantKind(t, err, hsm.KindInvalidCiphertext)
		}
		for _, junk := range [][]byte{nil, make([]byte, 256), bytes.Repeat([]byte{255}, 256), good[1:], append(bytes.Clone(good), 0)} {
			_, err := tok.DecryptOAEP(t.Context(), id, hash, junk)
			wantKind(t, err, hsm.KindInvalidCiphertext)
		}
	}
	other, err := public.EncryptOAEP(sha1.New(), []byte("plaintext"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = tok.DecryptOAEP(t.Context(), id, crypto.SHA256, other)
	wantKind(t, err, hsm.KindInvalidCiphertext)
}

func testPairConcurrency(t *testing.T, tok hsm.Token) {
	id, public := newPair(t, tok, hsm.P256, hsm.PurposeSign)
	done := make(chan error)
	for range 8 {
		go func() {
			var err error
			for range 10 {
				var signature []byte
				digest := sha256.Sum256(randomBytes(8))
				if signature, err = tok.Sign(t.Context(), id, hsm.ECDSA, crypto.SHA256, digest[:]); err != nil {
					break
				}
				if !public.Verify(hsm.ECDSA, crypto.SHA256, digest[:], signature) {
					t.Error("a signature of something else")
				}
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func testPairContext(t *testing.T, tok hsm.Token) {
	id, peer := newPair(t, tok, hsm.P256, hsm.PurposeAgree)
	point, err := peer.Point()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range map[string]error{
		"GenerateKeyPair": tok.GenerateKeyPair(ctx, hsm.NewKeyID(), hsm.P256, hsm.PurposeSign, ""),
		"GenerateMACKey":  tok.GenerateMACKey(ctx, hsm.NewKeyID(), hsm.HMAC256, ""),
		"Sign":            second(tok.Sign(ctx, id, hsm.ECDSA, crypto.SHA256, make([]byte, 32))),
		"Agree":           second(tok.Agree(ctx, id, point)),
		"MAC":             second(tok.MAC(ctx, id, hsm.HMAC256, testAAD)),
		"PublicKey":       second(tok.PublicKey(ctx, id)),
	} {
		if !hsm.IsKind(err, hsm.KindCanceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// ecdhWith computes what Agree should, with a fresh key of the peer's.
func ecdhWith(curve ecdh.Curve, point []byte) (mine, secret []byte, err error) {
	theirs, err := curve.NewPublicKey(point)
	if err != nil {
		return nil, nil, err
	}
	k, err := curve.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	secret, err = k.ECDH(theirs)
	return k.PublicKey().Bytes(), secret, err
}
