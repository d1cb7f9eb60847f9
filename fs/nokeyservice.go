package fs

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// noKeyService stands for the key service of a volume that is recovered without any.
type noKeyService struct{}

var errNoKeyService = &Error{Op: "ask the key service", Kind: KindKeyMissing, Err: errors.New("there is none")}

func (noKeyService) GenerateDataKey(context.Context, *kms.GenerateDataKeyInput, ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	return nil, errNoKeyService
}

func (noKeyService) Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	return nil, errNoKeyService
}

func (noKeyService) Encrypt(context.Context, *kms.EncryptInput, ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	return nil, errNoKeyService
}

func (noKeyService) ReEncrypt(context.Context, *kms.ReEncryptInput, ...func(*kms.Options)) (*kms.ReEncryptOutput, error) {
	return nil, errNoKeyService
}

func (noKeyService) CreateGrant(context.Context, *kms.CreateGrantInput, ...func(*kms.Options)) (*kms.CreateGrantOutput, error) {
	return nil, errNoKeyService
}

func (noKeyService) RetireGrant(context.Context, *kms.RetireGrantInput, ...func(*kms.Options)) (*kms.RetireGrantOutput, error) {
	return nil, errNoKeyService
}

func (noKeyService) DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	return nil, errNoKeyService
}
