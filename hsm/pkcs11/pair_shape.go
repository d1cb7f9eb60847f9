package pkcs11

import (
	"encoding/asn1"
	"encoding/binary"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// Mechanisms and key types that the binding has no names for (PKCS#11 3.0).
const (
	ckmEdwardsKeyPairGen = 0x1055
	ckmEdDSA             = 0x1057
	ckkEdwards           = 0x40
)

// pairKind is how key pairs of a type are made.
type pairKind struct {
	mechanism uint
	keyType   uint
	curve     asn1.ObjectIdentifier // CKA_EC_PARAMS; nil for RSA
}

// pairKinds are the types of key pairs.
var pairKinds = map[hsm.KeyType]pairKind{
	hsm.RSA2048:   {mechanism: p11.CKM_RSA_PKCS_KEY_PAIR_GEN, keyType: p11.CKK_RSA},
	hsm.RSA3072:   {mechanism: p11.CKM_RSA_PKCS_KEY_PAIR_GEN, keyType: p11.CKK_RSA},
	hsm.RSA4096:   {mechanism: p11.CKM_RSA_PKCS_KEY_PAIR_GEN, keyType: p11.CKK_RSA},
	hsm.P256:      {p11.CKM_EC_KEY_PAIR_GEN, p11.CKK_EC, asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}},
	hsm.P384:      {p11.CKM_EC_KEY_PAIR_GEN, p11.CKK_EC, asn1.ObjectIdentifier{1, 3, 132, 0, 34}},
	hsm.P521:      {p11.CKM_EC_KEY_PAIR_GEN, p11.CKK_EC, asn1.ObjectIdentifier{1, 3, 132, 0, 35}},
	hsm.Secp256k1: {p11.CKM_EC_KEY_PAIR_GEN, p11.CKK_EC, asn1.ObjectIdentifier{1, 3, 132, 0, 10}},
	hsm.Ed25519:   {ckmEdwardsKeyPairGen, ckkEdwards, asn1.ObjectIdentifier{1, 3, 101, 112}},
}

// curveParams is the DER of a curve's name.
func curveParams(oid asn1.ObjectIdentifier) []byte {
	der, _ := asn1.Marshal(oid) // only malformed ids fail, and these are constants
	return der
}

// pairShape is the template of a key pair.
type pairShape struct {
	typ     hsm.KeyType
	purpose hsm.Purpose
	onToken bool
	// host has raw RSA of an unwrapping key for what the token's unwrapping lacks.
	host bool
	keyStrictness
}

// unwraps tells whether the pair is for importing keys.
func (p pairShape) unwraps() bool {
	return p.purpose == hsm.PurposeUnwrap || p.purpose == hsm.PurposeUnwrapSHA256
}

// keyStrictness is what a template asks for beyond what is needed.
type keyStrictness struct {
	locked   bool // attributes fixed, no copies
	restrict bool // only the mechanisms that are used here
}

// strictnesses are tried in this order. NSS's database can't store the attributes
// of the first ones.
var strictnesses = [...]keyStrictness{{true, true}, {restrict: true}, {locked: true}, {}}

func (p pairShape) public() []*p11.Attribute {
	kind := pairKinds[p.typ]
	a := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_TOKEN, p.onToken),
		p11.NewAttribute(p11.CKA_PRIVATE, false),
		p11.NewAttribute(p11.CKA_VERIFY, p.purpose == hsm.PurposeSign),
	}
	if bits := p.typ.RSABits(); bits > 0 {
		return append(a,
			p11.NewAttribute(p11.CKA_ENCRYPT, p.purpose == hsm.PurposeDecrypt),
			p11.NewAttribute(p11.CKA_WRAP, p.unwraps()),
			p11.NewAttribute(p11.CKA_MODULUS_BITS, bits),
			p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}))
	}
	return append(a, p11.NewAttribute(p11.CKA_EC_PARAMS, curveParams(kind.curve)))
}

func (p pairShape) private() []*p11.Attribute {
	a := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_TOKEN, p.onToken),
		p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true),
		p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
		p11.NewAttribute(p11.CKA_SIGN, p.purpose == hsm.PurposeSign),
		p11.NewAttribute(p11.CKA_DECRYPT, p.purpose == hsm.PurposeDecrypt || p.host),
		p11.NewAttribute(p11.CKA_DERIVE, p.purpose == hsm.PurposeAgree),
		p11.NewAttribute(p11.CKA_UNWRAP, p.unwraps()),
	}
	if p.locked {
		a = append(a, p11.NewAttribute(p11.CKA_MODIFIABLE, false), p11.NewAttribute(p11.CKA_COPYABLE, false))
	}
	if p.restrict {
		a = append(a, p11.NewAttribute(p11.CKA_ALLOWED_MECHANISMS, mechanismList(p.mechanisms()...)))
	}
	return a
}

// mechanisms are those that the purpose needs, raw RSA among them for what the
// token's OAEP can't do.
func (p pairShape) mechanisms() []uint64 {
	switch {
	case p.purpose == hsm.PurposeAgree:
		return []uint64{p11.CKM_ECDH1_DERIVE}
	case p.purpose == hsm.PurposeDecrypt, p.host:
		return []uint64{p11.CKM_RSA_PKCS_OAEP, p11.CKM_RSA_X_509}
	case p.unwraps():
		return []uint64{p11.CKM_RSA_PKCS_OAEP}
	case p.typ == hsm.Ed25519:
		return []uint64{ckmEdDSA}
	case p.typ.RSABits() > 0:
		return []uint64{p11.CKM_RSA_PKCS, p11.CKM_RSA_PKCS_PSS}
	}
	return []uint64{p11.CKM_ECDSA}
}

// macAttributes is the template of an HMAC key.
func macAttributes(t hsm.KeyType, onToken bool, how keyStrictness) []*p11.Attribute {
	a := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY),
		p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_GENERIC_SECRET),
		p11.NewAttribute(p11.CKA_VALUE_LEN, t.MACHash().Size()),
	}
	return append(a, macUse(t, onToken, how)...)
}

// macUse is the part of an HMAC key's template that says what it is for.
func macUse(t hsm.KeyType, onToken bool, how keyStrictness) []*p11.Attribute {
	a := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_TOKEN, onToken),
		p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true),
		p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
		p11.NewAttribute(p11.CKA_SIGN, true),
		p11.NewAttribute(p11.CKA_VERIFY, false),
		p11.NewAttribute(p11.CKA_DERIVE, false),
		p11.NewAttribute(p11.CKA_ENCRYPT, false),
		p11.NewAttribute(p11.CKA_DECRYPT, false),
		p11.NewAttribute(p11.CKA_WRAP, false),
		p11.NewAttribute(p11.CKA_UNWRAP, false),
	}
	if how.locked {
		a = append(a, p11.NewAttribute(p11.CKA_MODIFIABLE, false), p11.NewAttribute(p11.CKA_COPYABLE, false))
	}
	if how.restrict {
		a = append(a, p11.NewAttribute(p11.CKA_ALLOWED_MECHANISMS, mechanismList(uint64(macMechanisms[t]))))
	}
	return a
}

// macMechanisms are the HMACs by key type.
var macMechanisms = map[hsm.KeyType]uint{
	hsm.HMAC224: p11.CKM_SHA224_HMAC, hsm.HMAC256: p11.CKM_SHA256_HMAC,
	hsm.HMAC384: p11.CKM_SHA384_HMAC, hsm.HMAC512: p11.CKM_SHA512_HMAC,
}

// mechanismList is the value of CKA_ALLOWED_MECHANISMS; ulongs lays out any row of
// CK_ULONG.
func mechanismList(list ...uint64) []byte { return ulongs(list...) }

func ulongs(values ...uint64) []byte {
	b := make([]byte, 0, 8*len(values))
	for _, v := range values {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}
