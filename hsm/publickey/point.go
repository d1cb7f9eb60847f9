package publickey

import (
	"crypto/elliptic"
	"errors"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/kmsfs/kmsfs/hsm"
)

// NewCompressed makes a key of a compressed point (SEC 1 section 2.3.3).
func NewCompressed(t hsm.KeyType, point []byte) (*Key, error) {
	if t == hsm.Secp256k1 {
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
	x, y := elliptic.UnmarshalCompressed(curve, point)
	if x == nil {
		return nil, errors.New("not a point on the curve")
	}
	return NewPoint(t, uncompressed(x.FillBytes(make([]byte, t.CoordinateSize())), y.FillBytes(make([]byte, t.CoordinateSize()))))
}

func uncompressed(x, y []byte) []byte {
	return append(append([]byte{4}, x...), y...)
}

// Generator returns the base point of a curve, uncompressed.
func Generator(t hsm.KeyType) ([]byte, error) {
	size := t.CoordinateSize()
	if t == hsm.Secp256k1 {
		p := secp256k1.Params()
		return uncompressed(p.Gx.FillBytes(make([]byte, size)), p.Gy.FillBytes(make([]byte, size))), nil
	}
	curve := curves[t]
	if curve == nil {
		return nil, errType
	}
	p := curve.Params()
	return uncompressed(p.Gx.FillBytes(make([]byte, size)), p.Gy.FillBytes(make([]byte, size))), nil
}

// Modulus returns the modulus of an RSA key, big-endian, nil for other keys.
func (k *Key) Modulus() []byte {
	if k.rsa == nil {
		return nil
	}
	return k.rsa.N.Bytes()
}
