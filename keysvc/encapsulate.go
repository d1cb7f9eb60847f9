package keysvc

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Encapsulation needs ML-KEM keys, which no token here can make: CreateKey refuses their
// specs. So these operations find every key to be for something else, after all that they
// check of one that is for them.

// Encapsulate would make a shared secret and its encapsulated form with the public key of
// an ML-KEM key.
func (s *Service) Encapsulate(ctx context.Context, in *kms.EncapsulateInput, _ ...func(*kms.Options)) (*kms.EncapsulateOutput, error) {
	return serve(s, ctx, opEncapsulate, in, (*call).encapsulate)
}

func (c *call) encapsulate(in *kms.EncapsulateInput) (*kms.EncapsulateOutput, error) {
	return nil, c.noEncapsulation(in.KeyId, in.EncapsulationAlgorithm, in.GrantTokens, in.DryRun)
}

// Decapsulate would recover the shared secret with the private key of an ML-KEM key.
func (s *Service) Decapsulate(ctx context.Context, in *kms.DecapsulateInput, _ ...func(*kms.Options)) (*kms.DecapsulateOutput, error) {
	return serve(s, ctx, opDecapsulate, in, (*call).decapsulate)
}

func (c *call) decapsulate(in *kms.DecapsulateInput) (*kms.DecapsulateOutput, error) {
	return nil, c.noEncapsulation(in.KeyId, in.EncapsulationAlgorithm, in.GrantTokens, in.DryRun)
}

// noEncapsulation admits the call and refuses the key.
func (c *call) noEncapsulation(keyID *string, algorithm types.EncapsulationAlgorithmSpec, grantTokens []string, dry *bool) error {
	c.text("keyId", keyID)
	word(c, "encapsulationAlgorithm", algorithm)
	c.dry(dry)
	k, err := c.use(*keyID, access{grantTokens: grantTokens})
	if err != nil {
		return err
	}
	return checkUse(k, types.KeyUsageTypeEncapsulateDecapsulate, algorithm, nil, c.op.name)
}
