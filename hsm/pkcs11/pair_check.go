package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"errors"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"
)

// errWrong is a key that was made and computes wrongly.
var errWrong = &hsm.Error{Kind: hsm.KindUnsupported, Err: errors.New("the token computes wrongly with keys of this type")}

// checkPair has a new pair do what it is for, and compares with software: the
// pairwise consistency test of FIPS 140-3, and the proof that the token can.
func (t *token) checkPair(c *connection, s session, shape pairShape, public, private object) error {
	k, err := readPublicKey(c.api, s, public)
	if err != nil {
		return err
	}
	if k.Type() != shape.typ {
		return errWrong
	}
	switch shape.purpose {
	case hsm.PurposeSign:
		return checkSigning(c.api, s, private, k)
	case hsm.PurposeDecrypt:
		return t.checkOAEP(c.api, s, private, k)
	case hsm.PurposeAgree:
		return checkAgreement(c.api, s, private, k)
	}
	return t.checkUnwrapping(c.api, s, shape, private, k)
}

// checkUnwrapping has a new wrapping key unwrap an AES key.
func (t *token) checkUnwrapping(api cryptoki, s session, shape pairShape, key object, public *publickey.Key) error {
	h := crypto.SHA1
	if shape.purpose == hsm.PurposeUnwrapSHA256 {
		h = crypto.SHA256
	}
	wrapped, err := public.EncryptOAEP(oaepHashes[h](), probeText)
	if err != nil {
		return err
	}
	o, err := t.unwrapOAEP(api, s, wrapping{key: key, public: public, hash: h, host: shape.host}, wrapped, keyEncryptionKey)
	if err != nil {
		return err
	}
	return api.destroy(s, o)
}

func checkSigning(api cryptoki, s session, key object, public *publickey.Key) error {
	scheme, hash, input := hsm.ECDSA, crypto.SHA256, make([]byte, 32)
	switch {
	case public.Type() == hsm.Ed25519:
		scheme, hash = hsm.EdDSA, 0
	case public.Type().RSABits() > 0:
		scheme = hsm.RSAPKCS1v15
	}
	digest := sha256.Sum256(probeText)
	copy(input, digest[:])
	m, in, err := signing(scheme, hash, input)
	if err != nil {
		return err
	}
	signature, err := signWith(api, s, key, scheme, m, in)
	if err != nil {
		return err
	}
	if !public.Verify(scheme, hash, input, signature) {
		return errWrong
	}
	return nil
}

func (t *token) checkOAEP(api cryptoki, s session, key object, public *publickey.Key) error {
	sealed, err := public.EncryptOAEP(oaepHashes[crypto.SHA1](), probeText)
	if err != nil {
		return err
	}
	text, err := t.openOAEP(api, s, key, crypto.SHA1, sealed)
	if err != nil {
		return err
	}
	if !bytes.Equal(text, probeText) {
		return errWrong
	}
	return nil
}

func checkAgreement(api cryptoki, s session, key object, public *publickey.Key) error {
	curve := map[hsm.KeyType]ecdh.Curve{hsm.P256: ecdh.P256(), hsm.P384: ecdh.P384(), hsm.P521: ecdh.P521()}[public.Type()]
	point, err := public.Point()
	if err != nil || curve == nil {
		return errors.Join(errWrong, err)
	}
	theirs, err := curve.NewPublicKey(point)
	if err != nil {
		return err
	}
	mine, err := curve.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	want, err := mine.ECDH(theirs)
	if err != nil {
		return err
	}
	got := make([]byte, public.Type().CoordinateSize())
	if err := api.agree(s, key, mine.PublicKey().Bytes(), got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errWrong
	}
	return nil
}

// checkMAC has a new HMAC key compute the same thing twice and another thing
// differently. Nothing else can be compared, as nobody knows the key.
func checkMAC(api cryptoki, s session, key object, typ hsm.KeyType) error {
	one, err := computeMAC(api, s, key, typ, probeText)
	if err != nil {
		return err
	}
	again, err := computeMAC(api, s, key, typ, probeText)
	if err != nil {
		return err
	}
	other, err := computeMAC(api, s, key, typ, probeAAD)
	if err != nil {
		return err
	}
	if !bytes.Equal(one, again) || bytes.Equal(one, other) {
		return errWrong
	}
	return nil
}
