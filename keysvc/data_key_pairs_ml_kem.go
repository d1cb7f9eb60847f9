package keysvc

import (
	"crypto/mlkem"
	"crypto/x509/pkix"
	"encoding/asn1"
)

// The algorithms of ML-KEM keys, from NIST's registry. They have no parameters.
var (
	mlKEM768  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 4, 2}
	mlKEM1024 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 4, 3}
)

func mlKEM768Pair() (private, public []byte, err error) {
	key, err := mlkem.GenerateKey768()
	if err != nil {
		return nil, nil, err
	}
	return encodedMLKEM(mlKEM768, key.Bytes(), key.EncapsulationKey().Bytes())
}

func mlKEM1024Pair() (private, public []byte, err error) {
	key, err := mlkem.GenerateKey1024()
	if err != nil {
		return nil, nil, err
	}
	return encodedMLKEM(mlKEM1024, key.Bytes(), key.EncapsulationKey().Bytes())
}

// encodedMLKEM encodes a key pair as RFC 9935 says: the private key in PKCS #8 in the
// format that holds the seed alone, the public key as a SubjectPublicKeyInfo. It wipes
// the seed.
func encodedMLKEM(oid asn1.ObjectIdentifier, seed, encapsulationKey []byte) (private, public []byte, err error) {
	defer clear(seed)
	inner, err := asn1.MarshalWithParams(seed, "tag:0")
	if err != nil {
		return nil, nil, err
	}
	defer clear(inner)
	algorithm := pkix.AlgorithmIdentifier{Algorithm: oid}
	private, err = asn1.Marshal(struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}{0, algorithm, inner})
	if err != nil {
		return nil, nil, err
	}
	public, err = asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}{algorithm, asn1.BitString{Bytes: encapsulationKey, BitLength: 8 * len(encapsulationKey)}})
	return private, public, err
}
