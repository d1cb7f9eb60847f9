package keysvc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"

	"github.com/kmsfs/kmsfs/hsm/publickey"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// A data key pair is for use without the service, so it is made in the process,
// with the generator of the standard library. What encodes the private key is
// wiped; the numbers inside the standard library's key are left to the garbage
// collector, which Go gives no way around.

// GenerateDataKeyPair makes a key pair and returns it with the private key, PKCS #8,
// in plaintext and encrypted under a symmetric KMS key. The caller wipes the
// plaintext after use.
func (s *Service) GenerateDataKeyPair(ctx context.Context, in *kms.GenerateDataKeyPairInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyPairOutput, error) {
	return serve(s, ctx, opGenerateDataKeyPair, in, (*call).generateDataKeyPair)
}

func (c *call) generateDataKeyPair(in *kms.GenerateDataKeyPairInput) (*kms.GenerateDataKeyPairOutput, error) {
	if in.Recipient != nil {
		return nil, noRecipient()
	}
	made, public, err := c.dataKeyPair(in)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyPairOutput{
		PrivateKeyCiphertextBlob: made.blob, PrivateKeyPlaintext: c.secret(made.plaintext), PublicKey: public,
		KeyId: aws.String(made.key.arn), KeyPairSpec: in.KeyPairSpec, KeyMaterialId: made.materialID(),
	}, nil
}

// GenerateDataKeyPairWithoutPlaintext is GenerateDataKeyPair for a private key that
// is needed only later, by somebody who may call Decrypt.
func (s *Service) GenerateDataKeyPairWithoutPlaintext(ctx context.Context, in *kms.GenerateDataKeyPairWithoutPlaintextInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyPairWithoutPlaintextOutput, error) {
	return serve(s, ctx, opGenerateKeyPairHidden, in, (*call).generateDataKeyPairHidden)
}

func (c *call) generateDataKeyPairHidden(in *kms.GenerateDataKeyPairWithoutPlaintextInput) (*kms.GenerateDataKeyPairWithoutPlaintextOutput, error) {
	made, public, err := c.dataKeyPair(&kms.GenerateDataKeyPairInput{
		KeyId: in.KeyId, EncryptionContext: in.EncryptionContext, KeyPairSpec: in.KeyPairSpec,
		GrantTokens: in.GrantTokens, DryRun: in.DryRun,
	})
	if err != nil {
		return nil, err
	}
	clear(made.plaintext)
	return &kms.GenerateDataKeyPairWithoutPlaintextOutput{
		PrivateKeyCiphertextBlob: made.blob, PublicKey: public,
		KeyId: aws.String(made.key.arn), KeyPairSpec: in.KeyPairSpec, KeyMaterialId: made.materialID(),
	}, nil
}

func (c *call) dataKeyPair(in *kms.GenerateDataKeyPairInput) (*dataKey, []byte, error) {
	c.text("keyId", in.KeyId)
	c.context("encryptionContext", in.EncryptionContext)
	word(c, "keyPairSpec", in.KeyPairSpec)
	c.dry(in.DryRun)
	k, err := c.use(*in.KeyId, access{context: in.EncryptionContext, grantTokens: in.GrantTokens})
	if err != nil {
		return nil, nil, err
	}
	if _, err := c.checkCipher(k, symmetricDefault, nil); err != nil {
		return nil, nil, err
	}
	if err := notInStore(k); err != nil {
		return nil, nil, err
	}
	generate := keyPairs[in.KeyPairSpec]
	if generate == nil {
		return nil, nil, refuse(KindUnsupported, "KeyPairSpec %s is not supported.", in.KeyPairSpec)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, nil, err
	}
	private, public, err := generate()
	if err != nil {
		return nil, nil, internal(err)
	}
	d := &dataKey{key: c.s.rotateIfDue(c.ctx, k), plaintext: private}
	if d.blob, err = c.seal(d.key, private, in.EncryptionContext); err != nil {
		clear(private)
		return nil, nil, err
	}
	return d, public, nil
}

// keyPairs make a key pair of each spec: the private key in PKCS #8 (RFC 5208), the
// public key as a SubjectPublicKeyInfo.
var keyPairs = map[types.DataKeyPairSpec]func() (private, public []byte, err error){
	types.DataKeyPairSpecRsa2048:             func() ([]byte, []byte, error) { return encoded(rsa.GenerateKey(rand.Reader, 2048)) },
	types.DataKeyPairSpecRsa3072:             func() ([]byte, []byte, error) { return encoded(rsa.GenerateKey(rand.Reader, 3072)) },
	types.DataKeyPairSpecRsa4096:             func() ([]byte, []byte, error) { return encoded(rsa.GenerateKey(rand.Reader, 4096)) },
	types.DataKeyPairSpecEccNistP256:         func() ([]byte, []byte, error) { return encoded(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) },
	types.DataKeyPairSpecEccNistP384:         func() ([]byte, []byte, error) { return encoded(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) },
	types.DataKeyPairSpecEccNistP521:         func() ([]byte, []byte, error) { return encoded(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)) },
	types.DataKeyPairSpecEccNistEdwards25519: edwardsPair,
	types.DataKeyPairSpecEccSecgP256k1:       publickey.GenerateSecp256k1,
	types.DataKeyPairSpecMlKem768:            mlKEM768Pair,
	types.DataKeyPairSpecMlKem1024:           mlKEM1024Pair,
}

func edwardsPair() (private, public []byte, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	defer clear(key)
	return encoded(key, err)
}

// encoded encodes a key of the standard library.
func encoded[K interface{ Public() crypto.PublicKey }](key K, err error) (private, public []byte, _ error) {
	if err != nil {
		return nil, nil, err
	}
	if public, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		return nil, nil, err
	}
	private, err = x509.MarshalPKCS8PrivateKey(key)
	return private, public, err
}
