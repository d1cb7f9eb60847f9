package keysvc

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// GenerateDataKey makes a random data key and returns it in plaintext and
// encrypted under a KMS key. The caller wipes the plaintext after use.
func (s *Service) GenerateDataKey(ctx context.Context, in *kms.GenerateDataKeyInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	return serve(s, ctx, opGenerateDataKey, in, (*call).generateDataKey)
}

func (c *call) generateDataKey(in *kms.GenerateDataKeyInput) (*kms.GenerateDataKeyOutput, error) {
	if in.Recipient != nil {
		return nil, noRecipient()
	}
	made, err := c.dataKey(in)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyOutput{
		CiphertextBlob: made.blob, Plaintext: c.secret(made.plaintext),
		KeyId: aws.String(made.key.arn), KeyMaterialId: made.materialID(),
	}, nil
}

// GenerateDataKeyWithoutPlaintext is GenerateDataKey for a data key that is
// needed only later, by somebody who may call Decrypt.
func (s *Service) GenerateDataKeyWithoutPlaintext(ctx context.Context, in *kms.GenerateDataKeyWithoutPlaintextInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyWithoutPlaintextOutput, error) {
	return serve(s, ctx, opGenerateDataKeyHidden, in, (*call).generateDataKeyHidden)
}

func (c *call) generateDataKeyHidden(in *kms.GenerateDataKeyWithoutPlaintextInput) (*kms.GenerateDataKeyWithoutPlaintextOutput, error) {
	made, err := c.dataKey(&kms.GenerateDataKeyInput{
		KeyId: in.KeyId, EncryptionContext: in.EncryptionContext, KeySpec: in.KeySpec,
		NumberOfBytes: in.NumberOfBytes, GrantTokens: in.GrantTokens, DryRun: in.DryRun,
	})
	if err != nil {
		return nil, err
	}
	clear(made.plaintext)
	return &kms.GenerateDataKeyWithoutPlaintextOutput{
		CiphertextBlob: made.blob, KeyId: aws.String(made.key.arn), KeyMaterialId: made.materialID(),
	}, nil
}

// dataKey is a data key and what it was made under.
type dataKey struct {
	key       *keySnapshot
	plaintext []byte
	blob      []byte
}

func (d *dataKey) materialID() *string {
	return shownMaterial(d.key, d.key.Current().Backing)
}

func (c *call) dataKey(in *kms.GenerateDataKeyInput) (*dataKey, error) {
	c.text("keyId", in.KeyId)
	c.context("encryptionContext", in.EncryptionContext)
	word(c, "keySpec", in.KeySpec)
	c.number("numberOfBytes", in.NumberOfBytes)
	c.dry(in.DryRun)
	size, err := dataKeySize(in)
	if err != nil {
		return nil, err
	}
	k, err := c.use(*in.KeyId, access{context: in.EncryptionContext, grantTokens: in.GrantTokens})
	if err != nil {
		return nil, err
	}
	if _, err := c.checkCipher(k, symmetricDefault, nil); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return c.makeDataKey(k, size, in.EncryptionContext)
}

func (c *call) makeDataKey(k *keySnapshot, size int, context map[string]string) (*dataKey, error) {
	d := &dataKey{key: c.s.rotateIfDue(c.ctx, k), plaintext: make([]byte, size)}
	if err := c.s.config.Token.Random(c.ctx, d.plaintext); err != nil {
		return nil, fromToken(err)
	}
	var err error
	if d.blob, err = c.seal(d.key, d.plaintext, context); err != nil {
		clear(d.plaintext)
		return nil, err
	}
	return d, nil
}

// dataKeySize checks the input's shape and returns the size that it asks for.
func dataKeySize(in *kms.GenerateDataKeyInput) (int, error) {
	switch {
	case (in.NumberOfBytes == nil) == (in.KeySpec == ""):
		return 0, refuse(KindValidation, "Please specify either number of bytes or key spec.")
	case in.NumberOfBytes != nil:
		return int(*in.NumberOfBytes), nil
	case in.KeySpec == types.DataKeySpecAes128:
		return 16, nil
	default:
		return 32, nil
	}
}

// GenerateRandom returns random bytes of the token.
func (s *Service) GenerateRandom(ctx context.Context, in *kms.GenerateRandomInput, _ ...func(*kms.Options)) (*kms.GenerateRandomOutput, error) {
	return serve(s, ctx, opGenerateRandom, in, (*call).generateRandom)
}

func (c *call) generateRandom(in *kms.GenerateRandomInput) (*kms.GenerateRandomOutput, error) {
	c.number("numberOfBytes", in.NumberOfBytes)
	c.text("customKeyStoreId", in.CustomKeyStoreId)
	switch {
	case in.Recipient != nil:
		return nil, noRecipient()
	case in.NumberOfBytes == nil:
		return nil, refuse(KindValidation, "NumberOfBytes is required.")
	}
	if err := c.authorizeAccount(); err != nil {
		return nil, err
	}
	token, err := c.randomSource(in.CustomKeyStoreId)
	if err != nil {
		return nil, err
	}
	random := c.secret(make([]byte, *in.NumberOfBytes))
	if err := token.Random(c.ctx, random); err != nil {
		return nil, fromToken(err)
	}
	return &kms.GenerateRandomOutput{Plaintext: random}, nil
}

func noRecipient() error {
	return refuse(KindUnsupported, "Recipient is not supported: there are no enclaves here.")
}
