package hsmtest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"
)

// RunImports runs the part of the suite about keys that were made elsewhere. pairs
// lists the types of private keys that the token imports; the others it must
// refuse with KindUnsupported. With -short only SHA-256 is tried.
func RunImports(t *testing.T, open func(t *testing.T) hsm.Token, pairs ...hsm.KeyType) {
	tok := Open(open).opened(t)
	i := &imports{tok: tok, pairs: pairs}
	for h, purpose := range map[crypto.Hash]hsm.Purpose{crypto.SHA1: hsm.PurposeUnwrap, crypto.SHA256: hsm.PurposeUnwrapSHA256} {
		if testing.Short() && h == crypto.SHA1 {
			continue // the lesser half: what does SHA-256 may do it by SHA-1
		}
		i.hash = h
		i.by, i.public = newPair(t, tok, hsm.RSA2048, purpose)
		for _, aesKeyWrap := range []bool{false, true} {
			i.aesKeyWrap = aesKeyWrap
			t.Run(fmt.Sprintf("%v AESKeyWrap=%v", h, aesKeyWrap), i.secrets)
		}
		t.Run(h.String()+" private keys", i.privateKeys)
		t.Run(h.String()+" is refused", i.refusals)
		t.Run(h.String()+" in another process", func(t *testing.T) {
			elsewhere := *i
			elsewhere.tok = Open(open).opened(t)
			elsewhere.secrets(t)
		})
	}
}

// imports is the state of RunImports.
type imports struct {
	tok        hsm.Token
	pairs      []hsm.KeyType
	hash       crypto.Hash
	by         hsm.KeyID
	public     *publickey.Key
	aesKeyWrap bool
}

// wrapped wraps key material for the wrapping key.
func (i *imports) wrapped(t *testing.T, typ hsm.KeyType, purpose hsm.Purpose, material []byte) hsm.WrappedKey {
	t.Helper()
	w := hsm.WrappedKey{Type: typ, Purpose: purpose, By: i.by, Hash: i.hash, AESKeyWrap: i.aesKeyWrap}
	var err error
	if i.aesKeyWrap {
		w.Wrapped, err = i.public.WrapForImport(oaepHashes[i.hash](), material)
	} else {
		w.Wrapped, err = i.public.EncryptOAEP(oaepHashes[i.hash](), material)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// imported imports for the time of a test.
func (i *imports) imported(t *testing.T, w hsm.WrappedKey) hsm.KeyID {
	t.Helper()
	id := hsm.NewKeyID()
	if err := i.tok.ImportKey(t.Context(), id, w, "hsmtest"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.tok.DestroyKey(context.Background(), id) })
	return id
}

func (i *imports) secrets(t *testing.T) {
	material := randomBytes(32)
	one, two := i.imported(t, i.wrapped(t, hsm.AES256, 0, material)), i.imported(t, i.wrapped(t, hsm.AES256, 0, material))
	plain := randomBytes(32)
	mustUnwrap(t, i.tok, two, wrap(t, i.tok, one, plain), plain)
	other := i.imported(t, i.wrapped(t, hsm.AES256, 0, randomBytes(32)))
	_, err := i.tok.Unwrap(t.Context(), other, wrap(t, i.tok, one, plain), testAAD)
	wantKind(t, err, hsm.KindInvalidCiphertext)
	for _, typ := range []hsm.KeyType{hsm.HMAC224, hsm.HMAC256, hsm.HMAC384, hsm.HMAC512} {
		material := randomBytes(typ.MACHash().Size())
		got, err := i.tok.MAC(t.Context(), i.imported(t, i.wrapped(t, typ, 0, material)), typ, testAAD)
		if err != nil {
			t.Fatal(err)
		}
		want := hmac.New(typ.MACHash().New, material)
		want.Write(testAAD)
		if !hmac.Equal(got, want.Sum(nil)) {
			t.Errorf("%s: another MAC", typ)
		}
	}
}

func (i *imports) privateKeys(t *testing.T) {
	i.aesKeyWrap = true
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.privateKey(t, hsm.RSA2048, r, &r.PublicKey, hsm.RSAPKCS1v15)
	i.privateKey(t, hsm.P256, p256, &p256.PublicKey, hsm.ECDSA)
	i.privateKey(t, hsm.P521, p521, &p521.PublicKey, hsm.ECDSA)
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.privateKey(t, hsm.Ed25519, ed, edPublic, hsm.EdDSA)
	private, public, err := publickey.GenerateSecp256k1()
	if err != nil {
		t.Fatal(err)
	}
	i.encoded(t, hsm.Secp256k1, private, public, hsm.ECDSA)
}

func (i *imports) privateKey(t *testing.T, typ hsm.KeyType, key, public any, scheme hsm.SignatureScheme) {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	i.encoded(t, typ, pkcs8, der, scheme)
}

func (i *imports) encoded(t *testing.T, typ hsm.KeyType, pkcs8, public []byte, scheme hsm.SignatureScheme) {
	t.Helper()
	w := i.wrapped(t, typ, hsm.PurposeSign, pkcs8)
	expected := false
	for _, p := range i.pairs {
		expected = expected || p == typ
	}
	if !expected {
		wantKind(t, i.tok.ImportKey(t.Context(), hsm.NewKeyID(), w, "hsmtest"), hsm.KindUnsupported)
		return
	}
	id := i.imported(t, w)
	if der, err := i.tok.PublicKey(t.Context(), id); err != nil || !bytes.Equal(der, public) {
		t.Fatalf("%s has another public key: %x, %v", typ, der, err)
	}
	digest := sha256.Sum256(testAAD)
	signature, err := i.tok.Sign(t.Context(), id, scheme, crypto.SHA256, digest[:])
	if err != nil || !publicOf(t, i.tok, id).Verify(scheme, crypto.SHA256, digest[:], signature) {
		t.Errorf("%s signs wrongly: %v", typ, err)
	}
	wrong := i.wrapped(t, map[bool]hsm.KeyType{true: hsm.P384, false: hsm.P256}[typ == hsm.P256], hsm.PurposeSign, pkcs8)
	if err := i.tok.ImportKey(t.Context(), hsm.NewKeyID(), wrong, "hsmtest"); err == nil {
		t.Errorf("a %s key was imported as another type", typ)
	}
}

func (i *imports) refusals(t *testing.T) {
	for _, i.aesKeyWrap = range []bool{false, true} {
		for _, n := range []int{16, 31, 33} {
			err := i.tok.ImportKey(t.Context(), hsm.NewKeyID(), i.wrapped(t, hsm.AES256, 0, randomBytes(n)), "hsmtest")
			if !hsm.IsKind(err, hsm.KindInvalidArgument) && !hsm.IsKind(err, hsm.KindInvalidCiphertext) {
				t.Errorf("a key of %d bytes: %v", n, err)
			}
		}
		good := i.wrapped(t, hsm.AES256, 0, randomBytes(32))
		for at := 0; at < len(good.Wrapped); at += 119 {
			bad := good
			bad.Wrapped = bytes.Clone(good.Wrapped)
			bad.Wrapped[at] ^= 1
			wantKind(t, i.tok.ImportKey(t.Context(), hsm.NewKeyID(), bad, "hsmtest"), hsm.KindInvalidCiphertext)
		}
		for _, cut := range [][]byte{nil, good.Wrapped[:10], good.Wrapped[1:], append(bytes.Clone(good.Wrapped), 0)} {
			bad := good
			bad.Wrapped = cut
			wantKind(t, i.tok.ImportKey(t.Context(), hsm.NewKeyID(), bad, "hsmtest"), hsm.KindInvalidCiphertext)
		}
		bad := good
		bad.By = hsm.NewKeyID()
		wantKind(t, i.tok.ImportKey(t.Context(), hsm.NewKeyID(), bad, "hsmtest"), hsm.KindKeyNotFound)
		taken := i.imported(t, good)
		wantKind(t, i.tok.ImportKey(t.Context(), taken, good, "hsmtest"), hsm.KindKeyExists)
	}
	foreign, _ := newPair(t, i.tok, hsm.RSA2048, hsm.PurposeDecrypt)
	bad := i.wrapped(t, hsm.AES256, 0, randomBytes(32))
	bad.By = foreign
	if err := i.tok.ImportKey(t.Context(), hsm.NewKeyID(), bad, "hsmtest"); err == nil {
		t.Error("a key for decryption unwraps")
	}
}
