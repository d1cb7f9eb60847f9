package publickey

import (
	"crypto/x509/pkix"
	"encoding/asn1"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/kmsfs/kmsfs/hsm"
)

// pkcs8 is a PrivateKeyInfo (RFC 5208 section 5).
type pkcs8 struct {
	Version    int
	Algorithm  pkix.AlgorithmIdentifier
	PrivateKey []byte
}

// ecPrivate is an ECPrivateKey (RFC 5915 section 3) whose curve is named outside.
type ecPrivate struct {
	Version    int
	PrivateKey []byte
	PublicKey  asn1.BitString `asn1:"explicit,tag:1"`
}

// GenerateSecp256k1 makes a key pair on secp256k1, for use outside of a token: the
// private key in PKCS #8, which the caller wipes, and the public key as a
// SubjectPublicKeyInfo.
func GenerateSecp256k1() (private, public []byte, err error) {
	k, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		return nil, nil, err
	}
	defer k.Zero()
	key := &Key{typ: hsm.Secp256k1, koblitz: k.PubKey()}
	if public, err = key.Marshal(); err != nil {
		return nil, nil, err
	}
	curve, err := asn1.Marshal(oidSecp256k1)
	if err != nil {
		return nil, nil, err
	}
	scalar, point := k.Serialize(), key.koblitz.SerializeUncompressed()
	defer clear(scalar)
	inner, err := asn1.Marshal(ecPrivate{Version: 1, PrivateKey: scalar, PublicKey: asn1.BitString{Bytes: point, BitLength: 8 * len(point)}})
	if err != nil {
		return nil, nil, err
	}
	defer clear(inner)
	private, err = asn1.Marshal(pkcs8{
		Algorithm:  pkix.AlgorithmIdentifier{Algorithm: oidECPublicKey, Parameters: asn1.RawValue{FullBytes: curve}},
		PrivateKey: inner,
	})
	return private, public, err
}
