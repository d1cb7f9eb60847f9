package pkcs11

import (
	"context"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"
)

// oaepHashes are the hashes of RSAES-OAEP.
var oaepHashes = map[crypto.Hash]func() hash.Hash{crypto.SHA1: sha1.New, crypto.SHA256: sha256.New}

// DecryptOAEP implements hsm.Token.
func (t *token) DecryptOAEP(ctx context.Context, id hsm.KeyID, h crypto.Hash, ciphertext []byte) ([]byte, error) {
	const op = "DecryptOAEP"
	if oaepHashes[h] == nil {
		return nil, t.report(op, badArgument("no RSAES-OAEP with %v", h))
	}
	public, err := t.publicKey(ctx, op, id)
	if err != nil {
		return nil, err
	}
	if !public.Encrypts(ciphertext) {
		return nil, &hsm.Error{Op: op, Kind: hsm.KindInvalidCiphertext, Err: errors.New("the ciphertext is not one of this key's size")}
	}
	in := append([]byte(nil), ciphertext...)
	var out []byte
	use := keyUse{op: op, id: id, which: algPrivateKey, purpose: hsm.PurposeDecrypt, wipe: nothing, discard: func() { clear(out) }}
	err = t.useKey(ctx, use, func(c *connection, s session, key object) (err error) {
		out, err = t.openOAEP(c.api, s, key, h, in)
		if classify(err) == classAmbiguous {
			err = t.judgeOAEP(c.api, s, key, h, public, err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// openOAEP decrypts in the token, or where that can't do the hash, with raw RSA in
// the token and the padding removed here.
func (t *token) openOAEP(api cryptoki, s session, key object, h crypto.Hash, in []byte) ([]byte, error) {
	out := make([]byte, len(in))
	if !t.rawOAEP[h].Load() {
		n, err := api.decryptWith(s, mechanism{p11.CKM_RSA_PKCS_OAEP, oaepParams(h)}, key, in, out)
		if !isAny(err, lackCodes...) {
			if err != nil {
				clear(out)
				return nil, err
			}
			clear(out[n:])
			return out[:n:n], nil
		}
	}
	n, err := api.decryptWith(s, mechanism{id: p11.CKM_RSA_X_509}, key, in, out)
	defer clear(out)
	if err != nil {
		return nil, err
	}
	if n > len(out) {
		return nil, fmt.Errorf("the module made %d bytes of %d", n, len(out))
	}
	// Leading zeros may be missing.
	block := make([]byte, len(in))
	defer clear(block)
	copy(block[len(block)-n:], out[:n])
	t.rawOAEP[h].Store(true)
	return unpadOAEP(oaepHashes[h], block)
}

// judgeOAEP tells a ciphertext that isn't for the key from a module in trouble,
// where both give the same return value: one that is for the key must decrypt.
func (t *token) judgeOAEP(api cryptoki, s session, key object, h crypto.Hash, public *publickey.Key, cause error) error {
	known, err := public.EncryptOAEP(oaepHashes[h](), canaryAAD)
	if err != nil {
		return err
	}
	if _, err = t.openOAEP(api, s, key, h, known); err == nil {
		return cause
	}
	if cl := classify(err); cl == classAmbiguous || cl == classAuth {
		return fmt.Errorf("a known good ciphertext is refused: %w", callResult(fnCanary, p11.CKR_GENERAL_ERROR))
	}
	return err
}

// oaepParams is a CK_RSA_PKCS_OAEP_PARAMS with an empty label.
func oaepParams(h crypto.Hash) []byte {
	names := rsaHashes[h]
	return ulongs(names.mechanism, names.mgf, p11.CKZ_DATA_SPECIFIED, 0, 0)
}

func isAny(err error, codes ...uint) bool {
	for _, rv := range codes {
		if isCall(err, rv) {
			return true
		}
	}
	return false
}

// errPadding is all that a wrong padding tells.
var errPadding = &hsm.Error{Kind: hsm.KindInvalidCiphertext, Err: errors.New("the padding is wrong")}

// unpadOAEP removes the padding of RFC 8017 section 7.1.2 with an empty label. How
// it is wrong must show in neither result nor time: an attacker who learned whether
// the first byte is zero could decrypt by asking (Manger's attack).
func unpadOAEP(newHash func() hash.Hash, block []byte) ([]byte, error) {
	digest := newHash()
	size := digest.Size()
	if len(block) < 2*size+2 {
		return nil, errPadding
	}
	label := digest.Sum(nil)
	seed, db := block[1:1+size], block[1+size:]
	maskMGF1(digest, db, seed)
	maskMGF1(digest, seed, db)
	good := subtle.ConstantTimeByteEq(block[0], 0) & subtle.ConstantTimeCompare(db[:size], label)
	rest := db[size:]
	searching, index, invalid := 1, 0, 0
	for i, b := range rest {
		isZero, isOne := subtle.ConstantTimeByteEq(b, 0), subtle.ConstantTimeByteEq(b, 1)
		index = subtle.ConstantTimeSelect(searching&isOne, i, index)
		searching = subtle.ConstantTimeSelect(isOne, 0, searching)
		invalid = subtle.ConstantTimeSelect(searching&^isZero, 1, invalid)
	}
	if good&^invalid&^searching != 1 {
		return nil, errPadding
	}
	return append([]byte(nil), rest[index+1:]...), nil
}

// maskMGF1 xors MGF1 (RFC 8017 appendix B.2.1) of seed to out.
func maskMGF1(h hash.Hash, seed, out []byte) {
	var counter [4]byte
	for n := uint32(0); len(out) > 0; n++ {
		binary.BigEndian.PutUint32(counter[:], n)
		h.Reset()
		h.Write(seed)
		h.Write(counter[:])
		mask := h.Sum(nil)
		k := min(len(mask), len(out))
		subtle.XORBytes(out[:k], out[:k], mask[:k])
		out = out[k:]
	}
	h.Reset()
}
