package keysvc

import (
	"crypto"
	_ "crypto/sha1" // of RSAES_OAEP_SHA_1
	_ "crypto/sha256"
	_ "crypto/sha512"

	"github.com/kmsfs/kmsfs/hsm"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// oaepHashes are the hashes of the encryption algorithms of RSA keys.
var oaepHashes = map[types.EncryptionAlgorithmSpec]crypto.Hash{
	types.EncryptionAlgorithmSpecRsaesOaepSha1:   crypto.SHA1,
	types.EncryptionAlgorithmSpecRsaesOaepSha256: crypto.SHA256,
}

// cipher is one side of Encrypt, Decrypt or ReEncrypt: a key, an algorithm and an
// encryption context, which checkCipher has found to fit.
type cipher struct {
	key       *keySnapshot
	algorithm types.EncryptionAlgorithmSpec
	context   map[string]string
}

// checkCipher refuses a key that doesn't encrypt with the algorithm; absent is
// SYMMETRIC_DEFAULT.
func (c *call) checkCipher(k *keySnapshot, algorithm types.EncryptionAlgorithmSpec, context map[string]string) (cipher, error) {
	x := cipher{k, types.EncryptionAlgorithmSpec(fallback(string(algorithm), string(symmetricDefault))), context}
	if err := checkUse(k, types.KeyUsageTypeEncryptDecrypt, x.algorithm, encryptionAlgorithms(&k.Key), c.op.name); err != nil {
		return x, err
	}
	if !isSymmetric(&k.Key) && len(context) > 0 {
		return x, refuse(KindValidation, "EncryptionContext is not valid for algorithm %s.", x.algorithm)
	}
	return x, nil
}

// checkSize refuses a plaintext that is too long for the algorithm, and an empty one,
// which only RSA ciphertexts that were made elsewhere have, under a symmetric key.
func (c *call) checkSize(x cipher, size int) error {
	if isSymmetric(&x.key.Key) {
		if size == 0 {
			return refuse(KindValidation, "Algorithm %s cannot encrypt an empty plaintext.", x.algorithm)
		}
		return nil
	}
	public, err := c.publicKey(x.key)
	if err != nil {
		return err
	}
	if most := public.MaxOAEP(oaepHashes[x.algorithm].Size()); size > most {
		return refuse(KindValidation, "Algorithm %s and key spec %s cannot encrypt data larger than %d bytes.", x.algorithm, x.key.Spec, most)
	}
	return nil
}

// seals encrypts; with a symmetric key under its current material, which it
// returns the id of.
func (c *call) seals(x cipher, plaintext []byte) (blob []byte, material *string, err error) {
	if isSymmetric(&x.key.Key) {
		k := c.s.rotateIfDue(c.ctx, x.key)
		if blob, err = c.seal(k, plaintext, x.context); err != nil {
			return nil, nil, err
		}
		return blob, shownMaterial(k, k.Current().Backing), nil
	}
	public, err := c.publicKey(x.key)
	if err != nil {
		return nil, nil, err
	}
	if blob, err = public.EncryptOAEP(oaepHashes[x.algorithm].New(), plaintext); err != nil {
		return nil, nil, internal(err)
	}
	return blob, nil, nil
}

// opens decrypts. The caller owns the plaintext.
func (c *call) opens(x cipher, ct ciphertext) (plaintext []byte, material *string, err error) {
	if isSymmetric(&x.key.Key) {
		plaintext, err = c.open(x.key, ct, x.context)
		return plaintext, shownMaterial(x.key, ct.backing), err
	}
	current, err := x.key.material()
	if err != nil {
		return nil, nil, err
	}
	plaintext, err = c.s.config.Token.DecryptOAEP(c.ctx, hsm.KeyID(current.Backing), oaepHashes[x.algorithm], ct.wrapped)
	if err != nil {
		return nil, nil, c.fromTokenFor(err, "EncryptionAlgorithm", string(x.algorithm))
	}
	return plaintext, nil, nil
}

// isRSA tells a key whose ciphertexts are bare, and so name no key.
func isRSA(k *keySnapshot) bool {
	return k.Usage == types.KeyUsageTypeEncryptDecrypt && !isSymmetric(&k.Key)
}
