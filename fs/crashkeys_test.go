package fs

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// modelKeys is a key service with one key, fast enough for millions of crashes: AES-GCM with the
// encryption context as associated data.
type modelKeys struct{ aead cipher.AEAD }

const modelARN = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000"

func newModelKeys() *modelKeys {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &modelKeys{aead}
}

func contextBytes(context map[string]string) []byte {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(context)) {
		b.WriteString(k + "=" + context[k] + "\n")
	}
	return []byte(b.String())
}

func (k *modelKeys) wrap(key []byte, context map[string]string) []byte {
	nonce := make([]byte, 12, 12+len(key)+16)
	rand.Read(nonce)
	return k.aead.Seal(nonce, nonce, key, contextBytes(context))
}

func (k *modelKeys) unwrap(blob []byte, context map[string]string) ([]byte, error) {
	key, err := k.aead.Open(nil, blob[:12], blob[12:], contextBytes(context))
	if err != nil {
		return nil, &types.InvalidCiphertextException{}
	}
	return key, nil
}

func (k *modelKeys) GenerateDataKey(_ context.Context, in *kms.GenerateDataKeyInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	key := make([]byte, 32)
	rand.Read(key)
	return &kms.GenerateDataKeyOutput{KeyId: in.KeyId, Plaintext: key, CiphertextBlob: k.wrap(key, in.EncryptionContext)}, nil
}

func (k *modelKeys) Decrypt(_ context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	key, err := k.unwrap(in.CiphertextBlob, in.EncryptionContext)
	return &kms.DecryptOutput{KeyId: in.KeyId, Plaintext: key}, err
}

func (k *modelKeys) Encrypt(_ context.Context, in *kms.EncryptInput, _ ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	return &kms.EncryptOutput{CiphertextBlob: k.wrap(in.Plaintext, in.EncryptionContext)}, nil
}

func (k *modelKeys) ReEncrypt(_ context.Context, in *kms.ReEncryptInput, _ ...func(*kms.Options)) (*kms.ReEncryptOutput, error) {
	key, err := k.unwrap(in.CiphertextBlob, in.SourceEncryptionContext)
	if err != nil {
		return nil, err
	}
	return &kms.ReEncryptOutput{CiphertextBlob: k.wrap(key, in.DestinationEncryptionContext)}, nil
}

func (k *modelKeys) CreateGrant(context.Context, *kms.CreateGrantInput, ...func(*kms.Options)) (*kms.CreateGrantOutput, error) {
	return &kms.CreateGrantOutput{GrantId: aws.String("grant")}, nil
}

func (k *modelKeys) RetireGrant(context.Context, *kms.RetireGrantInput, ...func(*kms.Options)) (*kms.RetireGrantOutput, error) {
	return &kms.RetireGrantOutput{}, nil
}

func (k *modelKeys) DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	return &kms.DescribeKeyOutput{KeyMetadata: &types.KeyMetadata{Arn: aws.String(modelARN)}}, nil
}
