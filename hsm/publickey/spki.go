package publickey

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/kmsfs/kmsfs/hsm"
)

// Key is a public key of one of the types that tokens have.
type Key struct {
	typ hsm.KeyType

	rsa     *rsa.PublicKey       // RSA
	ec      *ecdsa.PublicKey     // NIST curves
	koblitz *secp256k1.PublicKey // secp256k1
	ed      ed25519.PublicKey    // Ed25519
}

// Type is the key's type.
func (k *Key) Type() hsm.KeyType { return k.typ }

var errType = errors.New("not a public key of a known type")

// NewRSA makes a key of its big-endian modulus and exponent.
func NewRSA(modulus, exponent []byte) (*Key, error) {
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	if !e.IsInt64() || e.Int64() < 3 || e.Int64() >= 1<<31 {
		return nil, errors.New("the RSA exponent is out of range")
	}
	return fromRSA(&rsa.PublicKey{N: n, E: int(e.Int64())})
}

func fromRSA(p *rsa.PublicKey) (*Key, error) {
	for _, t := range []hsm.KeyType{hsm.RSA2048, hsm.RSA3072, hsm.RSA4096} {
		if p.N.BitLen() == t.RSABits() {
			return &Key{typ: t, rsa: p}, nil
		}
	}
	return nil, fmt.Errorf("an RSA modulus of %d bits is not supported", p.N.BitLen())
}

// NewPoint makes an elliptic-curve key of an uncompressed point, or of the 32
// bytes of an Ed25519 key.
func NewPoint(t hsm.KeyType, point []byte) (*Key, error) {
	switch t {
	case hsm.Ed25519:
		if len(point) != ed25519.PublicKeySize {
			return nil, errors.New("an Ed25519 public key has 32 bytes")
		}
		return &Key{typ: t, ed: append(ed25519.PublicKey(nil), point...)}, nil
	case hsm.Secp256k1:
		if len(point) != 65 || point[0] != 4 {
			return nil, errors.New("the point is not uncompressed")
		}
		p, err := secp256k1.ParsePubKey(point)
		if err != nil {
			return nil, err
		}
		return &Key{typ: t, koblitz: p}, nil
	}
	curve := curves[t]
	if curve == nil {
		return nil, errType
	}
	p, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, err
	}
	return &Key{typ: t, ec: p}, nil
}

// curves are the curves of crypto/elliptic.
var curves = map[hsm.KeyType]elliptic.Curve{
	hsm.P256: elliptic.P256(), hsm.P384: elliptic.P384(), hsm.P521: elliptic.P521(),
}

// Point returns the uncompressed point of a key on a curve.
func (k *Key) Point() ([]byte, error) {
	switch {
	case k.ec != nil:
		return k.ec.Bytes()
	case k.koblitz != nil:
		return k.koblitz.SerializeUncompressed(), nil
	}
	return nil, errors.New("the key is not a point")
}

var (
	oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidSecp256k1   = asn1.ObjectIdentifier{1, 3, 132, 0, 10}
)

// info is a SubjectPublicKeyInfo.
type info struct {
	Algorithm pkix.AlgorithmIdentifier
	PublicKey asn1.BitString
}

// Parse reads the DER of a SubjectPublicKeyInfo.
func Parse(der []byte) (*Key, error) {
	if p, err := x509.ParsePKIXPublicKey(der); err == nil {
		return fromStandard(p)
	}
	var i info
	rest, err := asn1.Unmarshal(der, &i)
	if err != nil || len(rest) != 0 {
		return nil, errType
	}
	var curve asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(i.Algorithm.Parameters.FullBytes, &curve); err != nil {
		return nil, errType
	}
	if !i.Algorithm.Algorithm.Equal(oidECPublicKey) || !curve.Equal(oidSecp256k1) || i.PublicKey.BitLength%8 != 0 {
		return nil, errType
	}
	return NewPoint(hsm.Secp256k1, i.PublicKey.Bytes)
}

func fromStandard(p any) (*Key, error) {
	switch p := p.(type) {
	case *rsa.PublicKey:
		return fromRSA(p)
	case *ecdsa.PublicKey:
		for t, c := range curves {
			if p.Curve == c {
				return &Key{typ: t, ec: p}, nil
			}
		}
	case ed25519.PublicKey:
		return &Key{typ: hsm.Ed25519, ed: p}, nil
	}
	return nil, errType
}

// Marshal returns the DER of the key's SubjectPublicKeyInfo.
func (k *Key) Marshal() ([]byte, error) {
	switch {
	case k.rsa != nil:
		return x509.MarshalPKIXPublicKey(k.rsa)
	case k.ec != nil:
		return x509.MarshalPKIXPublicKey(k.ec)
	case k.ed != nil:
		return x509.MarshalPKIXPublicKey(k.ed)
	}
	curve, err := asn1.Marshal(oidSecp256k1)
	if err != nil {
		return nil, err
	}
	point := k.koblitz.SerializeUncompressed()
	return asn1.Marshal(info{
		Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidECPublicKey, Parameters: asn1.RawValue{FullBytes: curve}},
		PublicKey: asn1.BitString{Bytes: point, BitLength: 8 * len(point)},
	})
}
