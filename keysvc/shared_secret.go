package keysvc

import (
	"context"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// DeriveSharedSecret computes an ECDH shared secret with a peer's public key: the
// raw x coordinate, which the caller puts through a key derivation function and
// wipes.
func (s *Service) DeriveSharedSecret(ctx context.Context, in *kms.DeriveSharedSecretInput, _ ...func(*kms.Options)) (*kms.DeriveSharedSecretOutput, error) {
	return serve(s, ctx, opDeriveSharedSecret, in, (*call).deriveSharedSecret)
}

func (c *call) deriveSharedSecret(in *kms.DeriveSharedSecretInput) (*kms.DeriveSharedSecretOutput, error) {
	c.text("keyId", in.KeyId)
	word(c, "keyAgreementAlgorithm", in.KeyAgreementAlgorithm)
	c.dry(in.DryRun)
	if in.Recipient != nil {
		return nil, noRecipient()
	}
	k, err := c.use(*in.KeyId, access{grantTokens: in.GrantTokens})
	if err != nil {
		return nil, err
	}
	if err := checkUse(k, types.KeyUsageTypeKeyAgreement, in.KeyAgreementAlgorithm, agreementAlgorithms(&k.Key), c.op.name); err != nil {
		return nil, err
	}
	point, err := peerPoint(k, in.PublicKey)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	current, err := k.material()
	if err != nil {
		return nil, err
	}
	secret, err := c.s.config.Token.Agree(c.ctx, hsm.KeyID(current.Backing), point)
	if err != nil {
		return nil, c.fromTokenFor(err, "KeyAgreementAlgorithm", string(in.KeyAgreementAlgorithm))
	}
	return &kms.DeriveSharedSecretOutput{
		KeyId: aws.String(k.arn), SharedSecret: c.secret(secret),
		KeyAgreementAlgorithm: in.KeyAgreementAlgorithm, KeyOrigin: k.Origin,
	}, nil
}

// peerPoint reads the peer's public key, which must be on the key's curve. AWS
// sends no text with the refusal.
func peerPoint(k *keySnapshot, der []byte) ([]byte, error) {
	public, err := publickey.Parse(der)
	if err != nil || public.Type() != made(&k.Key) {
		return nil, &Error{Kind: KindValidation, Err: err}
	}
	point, err := public.Point()
	if err != nil {
		return nil, internal(err)
	}
	return point, nil
}
