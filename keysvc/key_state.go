package keysvc

import (
	"context"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// EnableKey makes a disabled key usable again. A rotation that fell due
// meanwhile is made up for.
func (s *Service) EnableKey(ctx context.Context, in *kms.EnableKeyInput, _ ...func(*kms.Options)) (*kms.EnableKeyOutput, error) {
	return serve(s, ctx, opEnableKey, in, (*call).enableKey)
}

func (c *call) enableKey(in *kms.EnableKeyInput) (*kms.EnableKeyOutput, error) {
	k, err := c.setState(in.KeyId, types.KeyStateEnabled)
	if err != nil {
		return nil, err
	}
	if fresh, err := c.findID(k.ID); err == nil {
		c.s.rotateIfDue(c.ctx, fresh)
	}
	return &kms.EnableKeyOutput{}, nil
}

// DisableKey makes every cryptographic operation on a key fail, beginning with
// the next one, in every process that shares the store.
func (s *Service) DisableKey(ctx context.Context, in *kms.DisableKeyInput, _ ...func(*kms.Options)) (*kms.DisableKeyOutput, error) {
	return serve(s, ctx, opDisableKey, in, (*call).disableKey)
}

func (c *call) disableKey(in *kms.DisableKeyInput) (*kms.DisableKeyOutput, error) {
	_, err := c.setState(in.KeyId, types.KeyStateDisabled)
	return &kms.DisableKeyOutput{}, err
}

func (c *call) setState(keyID *string, state types.KeyState) (*keySnapshot, error) {
	c.text("keyId", keyID)
	k, err := c.change(*keyID, func(_ store.Tx, key *store.Key) error {
		key.State = state
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.response = audit.Params{"keyId": k.arn}
	return k, nil
}

// UpdateKeyDescription replaces a key's description.
func (s *Service) UpdateKeyDescription(ctx context.Context, in *kms.UpdateKeyDescriptionInput, _ ...func(*kms.Options)) (*kms.UpdateKeyDescriptionOutput, error) {
	return serve(s, ctx, opUpdateKeyDescription, in, (*call).updateKeyDescription)
}

func (c *call) updateKeyDescription(in *kms.UpdateKeyDescriptionInput) (*kms.UpdateKeyDescriptionOutput, error) {
	c.text("keyId", in.KeyId)
	c.text("description", in.Description)
	_, err := c.change(*in.KeyId, func(_ store.Tx, key *store.Key) error {
		key.Description = *in.Description
		return nil
	})
	return &kms.UpdateKeyDescriptionOutput{}, err
}
