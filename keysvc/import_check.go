package keysvc

import (
	"bytes"
	"context"
	"crypto/sha256"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"
)

// checkText is what check values are made of.
var checkText = []byte("kmsfs check value of imported key material")

// checkValue returns what recognises a material without telling anything of it: a
// ciphertext of a known text, an HMAC of it, or the digest of the public key.
func (s *Service) checkValue(ctx context.Context, key *store.Key, backing store.BackingID) ([]byte, error) {
	token, id := s.config.Token, hsm.KeyID(backing)
	var value []byte
	var err error
	switch {
	case isSymmetric(key):
		value, err = token.Wrap(ctx, id, checkText, checkText)
	case hasPublicKey(key):
		if value, err = token.PublicKey(ctx, id); err == nil {
			digest := sha256.Sum256(value)
			value = digest[:]
		}
	default:
		value, err = token.MAC(ctx, id, made(key), checkText)
	}
	if err != nil {
		return nil, fromToken(err)
	}
	return value, nil
}

// isSame tells whether a material is the one that gave the check value.
func (s *Service) isSame(ctx context.Context, key *store.Key, backing store.BackingID, check []byte) (bool, error) {
	if !isSymmetric(key) {
		value, err := s.checkValue(ctx, key, backing)
		return bytes.Equal(value, check), err
	}
	text, err := s.config.Token.Unwrap(ctx, hsm.KeyID(backing), check, checkText)
	switch {
	case hsm.IsKind(err, hsm.KindInvalidCiphertext):
		return false, nil
	case err != nil:
		return false, fromToken(err)
	}
	return bytes.Equal(text, checkText), nil
}
