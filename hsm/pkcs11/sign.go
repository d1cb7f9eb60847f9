package pkcs11

import (
	"context"
	"crypto"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// maxSignature is room for the signature of any key, in bytes.
const maxSignature = 1024

// Sign implements hsm.Token.
func (t *token) Sign(ctx context.Context, id hsm.KeyID, scheme hsm.SignatureScheme, hash crypto.Hash, input []byte) ([]byte, error) {
	const op = "Sign"
	m, in, err := signing(scheme, hash, input)
	if err != nil {
		return nil, t.report(op, err)
	}
	var out []byte
	use := keyUse{op: op, id: id, which: algPrivateKey, purpose: hsm.PurposeSign, wipe: func() { clear(in) }, discard: nothing}
	err = t.useKey(ctx, use, func(c *connection, s session, key object) (err error) {
		out, err = signWith(c.api, s, key, scheme, m, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	if scheme == hsm.EdDSAph {
		return out, t.checkPrehashed(ctx, op, id, input, out)
	}
	return out, nil
}

// checkPrehashed refuses a signature of a module that ignores the parameters of
// Ed25519ph, and signs the digest as if it were the message.
func (t *token) checkPrehashed(ctx context.Context, op string, id hsm.KeyID, digest, signature []byte) error {
	public, err := t.publicKey(ctx, op, id)
	if err != nil {
		return err
	}
	if !public.Verify(hsm.EdDSAph, crypto.SHA512, digest, signature) {
		clear(signature)
		return &hsm.Error{Op: op, Kind: hsm.KindUnsupported, Err: errors.New("the token signs with Ed25519, but not with Ed25519ph")}
	}
	return nil
}

func signWith(api cryptoki, s session, key object, scheme hsm.SignatureScheme, m mechanism, in []byte) ([]byte, error) {
	out := make([]byte, maxSignature)
	n, err := api.sign(s, m, key, in, out)
	if err != nil {
		return nil, err
	}
	if scheme == hsm.ECDSA {
		return derSignature(out[:n])
	}
	return out[:n:n], nil
}

// signing returns the mechanism for a scheme and what it is given: its own copy.
func signing(scheme hsm.SignatureScheme, hash crypto.Hash, input []byte) (mechanism, []byte, error) {
	if scheme == hsm.EdDSA {
		if len(input) == 0 || len(input) > hsm.MaxMessage {
			return mechanism{}, nil, badArgument("the message has %d bytes, want 1 to %d", len(input), hsm.MaxMessage)
		}
		return mechanism{id: ckmEdDSA}, append([]byte(nil), input...), nil
	}
	if hash == 0 || !hash.Available() || len(input) != hash.Size() {
		return mechanism{}, nil, badArgument("the digest has %d bytes, which is not the length of a %v", len(input), hash)
	}
	in := append([]byte(nil), input...)
	switch scheme {
	case hsm.RSAPKCS1v15:
		prefix, ok := digestInfo[hash]
		if !ok {
			return mechanism{}, nil, badArgument("no RSASSA-PKCS1-v1_5 with %v", hash)
		}
		return mechanism{id: p11.CKM_RSA_PKCS}, append([]byte(prefix), in...), nil
	case hsm.RSAPSS:
		h, ok := rsaHashes[hash]
		if !ok {
			return mechanism{}, nil, badArgument("no RSASSA-PSS with %v", hash)
		}
		return mechanism{p11.CKM_RSA_PKCS_PSS, ulongs(h.mechanism, h.mgf, uint64(hash.Size()))}, in, nil
	case hsm.ECDSA:
		return mechanism{id: p11.CKM_ECDSA}, in, nil
	case hsm.EdDSAph:
		params := make([]byte, 24) // CK_EDDSA_PARAMS: phFlag, no context
		params[0] = 1
		return mechanism{ckmEdDSA, params}, in, nil
	}
	return mechanism{}, nil, badArgument("no signature scheme %q", scheme)
}

// digestInfo is the DER that precedes a digest in RSASSA-PKCS1-v1_5 (RFC 8017
// section 9.2, note 1).
var digestInfo = map[crypto.Hash]string{
	crypto.SHA256: "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
	crypto.SHA384: "\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
	crypto.SHA512: "\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
}

// rsaHashes are PKCS#11's names of a hash and of MGF1 with it.
var rsaHashes = map[crypto.Hash]struct{ mechanism, mgf uint64 }{
	crypto.SHA1:   {p11.CKM_SHA_1, p11.CKG_MGF1_SHA1},
	crypto.SHA256: {p11.CKM_SHA256, p11.CKG_MGF1_SHA256},
	crypto.SHA384: {p11.CKM_SHA384, p11.CKG_MGF1_SHA384},
	crypto.SHA512: {p11.CKM_SHA512, p11.CKG_MGF1_SHA512},
}

// derSignature turns the token's r||s into the DER of an Ecdsa-Sig-Value (RFC 3279
// section 2.2.3).
func derSignature(raw []byte) ([]byte, error) {
	if len(raw) == 0 || len(raw)%2 != 0 {
		return nil, fmt.Errorf("the module made a signature of %d bytes", len(raw))
	}
	half := len(raw) / 2
	r, s := new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])
	if r.Sign() == 0 || s.Sign() == 0 {
		return nil, errors.New("the module made a signature of zeros")
	}
	return asn1.Marshal(struct{ R, S *big.Int }{r, s})
}
