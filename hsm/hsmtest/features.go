package hsmtest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"hash"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"
)

// Feature is something that a token may be able to do with keys other than those
// that wrap.
type Feature struct {
	Type   hsm.KeyType
	Scheme hsm.SignatureScheme // of a signature
	Hash   crypto.Hash         // of a signature or of OAEP
	Agrees bool                // ECDH
}

// String names the feature as the documentation does.
func (f Feature) String() string {
	switch {
	case f.Type.MACHash() != 0:
		return string(f.Type)
	case f.Agrees:
		return "ECDH " + string(f.Type)
	case f.Scheme == hsm.ECDSA:
		return string(f.Scheme) + " " + string(f.Type)
	case f.Scheme == hsm.EdDSA, f.Scheme == hsm.EdDSAph:
		return string(f.Scheme)
	case f.Scheme != "":
		return string(f.Scheme) + " " + f.Hash.String() + " " + string(f.Type)
	}
	return "RSAES-OAEP " + f.Hash.String() + " " + string(f.Type)
}

// Slow tells whether trying takes seconds.
func (f Feature) Slow() bool { return f.Type.RSABits() > 2048 }

// oaepHashes are the hashes of RSAES-OAEP.
var oaepHashes = map[crypto.Hash]func() hash.Hash{crypto.SHA1: sha1.New, crypto.SHA256: sha256.New}

// Features lists everything that the key service can make use of.
func Features() []Feature {
	var all []Feature
	for _, typ := range []hsm.KeyType{hsm.RSA2048, hsm.RSA3072, hsm.RSA4096} {
		for _, scheme := range []hsm.SignatureScheme{hsm.RSAPKCS1v15, hsm.RSAPSS} {
			for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
				if typ == hsm.RSA2048 || h == crypto.SHA256 { // the size of a key doesn't matter to the hash
					all = append(all, Feature{Type: typ, Scheme: scheme, Hash: h})
				}
			}
		}
		all = append(all, Feature{Type: typ, Hash: crypto.SHA1}, Feature{Type: typ, Hash: crypto.SHA256})
	}
	all = append(all,
		Feature{Type: hsm.P256, Scheme: hsm.ECDSA, Hash: crypto.SHA256},
		Feature{Type: hsm.P384, Scheme: hsm.ECDSA, Hash: crypto.SHA384},
		Feature{Type: hsm.P521, Scheme: hsm.ECDSA, Hash: crypto.SHA512},
		Feature{Type: hsm.Secp256k1, Scheme: hsm.ECDSA, Hash: crypto.SHA256},
		Feature{Type: hsm.Ed25519, Scheme: hsm.EdDSA},
		Feature{Type: hsm.Ed25519, Scheme: hsm.EdDSAph, Hash: crypto.SHA512},
		Feature{Type: hsm.P256, Agrees: true}, Feature{Type: hsm.P384, Agrees: true}, Feature{Type: hsm.P521, Agrees: true},
		Feature{Type: hsm.HMAC224}, Feature{Type: hsm.HMAC256}, Feature{Type: hsm.HMAC384}, Feature{Type: hsm.HMAC512})
	return all
}

// Try makes a key, has it do what the feature says, compares the result with what
// software computes, and destroys the key. KindUnsupported if the token can't.
func (f Feature) Try(ctx context.Context, tok hsm.Token) (err error) {
	id := hsm.NewKeyID()
	if f.Type.MACHash() != 0 {
		err = tok.GenerateMACKey(ctx, id, f.Type, "hsmtest "+f.String())
	} else {
		err = tok.GenerateKeyPair(ctx, id, f.Type, f.purpose(), "hsmtest "+f.String())
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tok.DestroyKey(context.WithoutCancel(ctx), id)) }()
	if f.Type.MACHash() != 0 {
		return f.tryMAC(ctx, tok, id)
	}
	der, err := tok.PublicKey(ctx, id)
	if err != nil {
		return err
	}
	public, err := publickey.Parse(der)
	switch {
	case err != nil:
		return err
	case f.Scheme != "":
		return f.trySigning(ctx, tok, id, public)
	case f.Agrees:
		return f.tryAgreement(ctx, tok, id, public)
	}
	return f.tryOAEP(ctx, tok, id, public)
}

func (f Feature) purpose() hsm.Purpose {
	switch {
	case f.Scheme != "":
		return hsm.PurposeSign
	case f.Agrees:
		return hsm.PurposeAgree
	}
	return hsm.PurposeDecrypt
}

func (f Feature) trySigning(ctx context.Context, tok hsm.Token, id hsm.KeyID, public *publickey.Key) error {
	input := make([]byte, 100)
	_, _ = rand.Read(input)
	if f.Hash != 0 {
		input = input[:f.Hash.Size()]
	}
	signature, err := tok.Sign(ctx, id, f.Scheme, f.Hash, input)
	if err != nil {
		return err
	}
	if !public.Verify(f.Scheme, f.Hash, input, signature) {
		// A module that ignores the parameters of Ed25519ph signs the digest as a message.
		return &hsm.Error{Op: "Sign", Kind: hsm.KindInternal, Err: errors.New("the signature doesn't verify")}
	}
	input[0] ^= 1
	if public.Verify(f.Scheme, f.Hash, input, signature) {
		return errors.New("the signature verifies for something else")
	}
	return nil
}

func (f Feature) tryOAEP(ctx context.Context, tok hsm.Token, id hsm.KeyID, public *publickey.Key) error {
	longest := public.MaxOAEP(f.Hash.Size())
	for _, n := range []int{0, 1, 32, longest} {
		text := randomBytes(n)
		sealed, err := public.EncryptOAEP(oaepHashes[f.Hash](), text)
		if err != nil {
			return err
		}
		got, err := tok.DecryptOAEP(ctx, id, f.Hash, sealed)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, text) {
			return errors.New("another plaintext")
		}
	}
	return nil
}

func (f Feature) tryAgreement(ctx context.Context, tok hsm.Token, id hsm.KeyID, public *publickey.Key) error {
	point, err := public.Point()
	if err != nil {
		return err
	}
	curve := map[hsm.KeyType]ecdh.Curve{hsm.P256: ecdh.P256(), hsm.P384: ecdh.P384(), hsm.P521: ecdh.P521()}[f.Type]
	mine, want, err := ecdhWith(curve, point)
	if err != nil {
		return err
	}
	got, err := tok.Agree(ctx, id, mine)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("another shared secret")
	}
	return nil
}

func (f Feature) tryMAC(ctx context.Context, tok hsm.Token, id hsm.KeyID) error {
	one, err := tok.MAC(ctx, id, f.Type, testAAD)
	if err != nil {
		return err
	}
	again, err := tok.MAC(ctx, id, f.Type, testAAD)
	if err != nil {
		return err
	}
	other, err := tok.MAC(ctx, id, f.Type, []byte("another message"))
	switch {
	case err != nil:
		return err
	case len(one) != f.Type.MACHash().Size() || !bytes.Equal(one, again) || bytes.Equal(one, other):
		return errors.New("not an HMAC")
	}
	return nil
}
