package keysvc

import (
	"context"
	"crypto/hmac"

	"github.com/kmsfs/kmsfs/hsm"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// GenerateMac authenticates a message of up to 4096 bytes with an HMAC key.
func (s *Service) GenerateMac(ctx context.Context, in *kms.GenerateMacInput, _ ...func(*kms.Options)) (*kms.GenerateMacOutput, error) {
	return serve(s, ctx, opGenerateMac, in, (*call).generateMac)
}

func (c *call) generateMac(in *kms.GenerateMacInput) (*kms.GenerateMacOutput, error) {
	k, err := c.macKey(in.KeyId, in.MacAlgorithm, in.GrantTokens, in.DryRun)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	mac, err := c.mac(k, in.Message)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateMacOutput{KeyId: aws.String(k.arn), Mac: mac, MacAlgorithm: in.MacAlgorithm}, nil
}

// VerifyMac checks an HMAC in constant time. One that doesn't fit is an error,
// never an answer.
func (s *Service) VerifyMac(ctx context.Context, in *kms.VerifyMacInput, _ ...func(*kms.Options)) (*kms.VerifyMacOutput, error) {
	return serve(s, ctx, opVerifyMac, in, (*call).verifyMac)
}

func (c *call) verifyMac(in *kms.VerifyMacInput) (*kms.VerifyMacOutput, error) {
	k, err := c.macKey(in.KeyId, in.MacAlgorithm, in.GrantTokens, in.DryRun)
	if err != nil {
		return nil, err
	}
	want, err := c.mac(k, in.Message)
	if err != nil {
		return nil, err
	}
	defer clear(want) // who may only verify must not learn it
	if !hmac.Equal(want, in.Mac) {
		return nil, &Error{Kind: KindInvalidMac}
	}
	return &kms.VerifyMacOutput{KeyId: aws.String(k.arn), MacValid: true, MacAlgorithm: in.MacAlgorithm}, dryRun(in.DryRun)
}

// macKey admits the call.
func (c *call) macKey(keyID *string, algorithm types.MacAlgorithmSpec, grantTokens []string, dryRun *bool) (*keySnapshot, error) {
	c.text("keyId", keyID)
	word(c, "macAlgorithm", algorithm)
	c.dry(dryRun)
	k, err := c.use(*keyID, access{grantTokens: grantTokens})
	if err != nil {
		return nil, err
	}
	return k, checkUse(k, types.KeyUsageTypeGenerateVerifyMac, algorithm, macAlgorithms(&k.Key), c.op.name)
}

func (c *call) mac(k *keySnapshot, message []byte) ([]byte, error) {
	current, err := k.material()
	if err != nil {
		return nil, err
	}
	mac, err := c.s.config.Token.MAC(c.ctx, hsm.KeyID(current.Backing), made(&k.Key), message)
	if err != nil {
		return nil, fromToken(err)
	}
	return mac, nil
}
