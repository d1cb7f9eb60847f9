package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/sha256"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"
)

// recoverPublic finds the public key of a private key that is still wrapped, by a
// session object that is destroyed afterwards.
func (u *unwrapper) recoverPublic() (*publickey.Key, error) {
	isRSA := u.w.Type.RSABits() > 0
	o, err := u.unwrap(append(privateClass(u.w.Type),
		p11.NewAttribute(p11.CKA_TOKEN, false),
		p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true),
		p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
		p11.NewAttribute(p11.CKA_SIGN, true),
		p11.NewAttribute(p11.CKA_DERIVE, !isRSA)))
	if err != nil {
		return nil, err
	}
	u.made = append(u.made, o)
	if isRSA {
		parts, err := u.c.api.attributes(u.s, o, []*p11.Attribute{
			p11.NewAttribute(p11.CKA_MODULUS, nil), p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, nil)})
		if err != nil {
			return nil, err
		}
		public, err := publickey.NewRSA(parts[0].Value, parts[1].Value)
		if err != nil || !bytes.Equal(parts[1].Value, []byte{1, 0, 1}) {
			return nil, badArgument("the imported RSA key has no modulus of 2048, 3072 or 4096 bits, or an exponent other than 65537")
		}
		return public, nil
	}
	return u.recoverPoint(o)
}

// recoverPoint finds the public point of a private key on a curve: ECDH with the
// base point gives its x coordinate, and a signature tells which of the two points
// with that x it is.
func (u *unwrapper) recoverPoint(o object) (*publickey.Key, error) {
	params, err := u.c.api.attributes(u.s, o, []*p11.Attribute{p11.NewAttribute(p11.CKA_EC_PARAMS, nil)})
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(params[0].Value, curveParams(pairKinds[u.w.Type].curve)) {
		return nil, badArgument("the imported key is on another curve than %s", u.w.Type)
	}
	generator, err := publickey.Generator(u.w.Type)
	if err != nil {
		return nil, err
	}
	x := make([]byte, u.w.Type.CoordinateSize())
	if err := u.c.api.agree(u.s, o, generator, x); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(probeText)
	m, in, err := signing(hsm.ECDSA, crypto.SHA256, digest[:])
	if err != nil {
		return nil, err
	}
	signature, err := signWith(u.c.api, u.s, o, hsm.ECDSA, m, in)
	if err != nil {
		return nil, err
	}
	for _, parity := range []byte{2, 3} {
		public, err := publickey.NewCompressed(u.w.Type, append([]byte{parity}, x...))
		if err == nil && public.Verify(hsm.ECDSA, crypto.SHA256, digest[:], signature) {
			return public, nil
		}
	}
	return nil, errNoRecovery
}
