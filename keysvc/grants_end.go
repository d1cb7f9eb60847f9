package keysvc

import (
	"context"
	"errors"
	"slices"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// RetireGrant ends a grant from the side of those who use it: the retiring
// principal, the grantee if the grant says so, or the account that issued it.
// The grant is named by its token or by key and grant id.
func (s *Service) RetireGrant(ctx context.Context, in *kms.RetireGrantInput, _ ...func(*kms.Options)) (*kms.RetireGrantOutput, error) {
	return serve(s, ctx, opRetireGrant, in, (*call).retireGrant)
}

func (c *call) retireGrant(in *kms.RetireGrantInput) (*kms.RetireGrantOutput, error) {
	c.text("keyId", in.KeyId)
	c.text("grantId", in.GrantId)
	c.dry(in.DryRun)
	keyID, grantID, err := retiredGrant(in)
	if err != nil {
		return nil, err
	}
	c.params["grantId"] = grantID
	k, err := c.find(keyID)
	if err != nil {
		return nil, err
	}
	c.touch(k)
	grant, err := c.grant(k, grantID)
	if err != nil {
		return nil, err
	}
	if !c.mayRetire(grant) {
		return nil, c.denied(c.op.name, k.arn, "no resource-based policy allows")
	}
	if err := errors.Join(c.op.checkState(k), dryRun(in.DryRun)); err != nil {
		return nil, err
	}
	return &kms.RetireGrantOutput{}, c.deleteGrant(k, grantID)
}

// retiredGrant reads the two ways of naming a grant.
func retiredGrant(in *kms.RetireGrantInput) (keyID, grantID string, err error) {
	switch {
	case in.GrantToken != nil && in.KeyId == nil && in.GrantId == nil:
		return parseGrantToken(*in.GrantToken)
	case in.GrantToken == nil && in.KeyId != nil && in.GrantId != nil:
		return *in.KeyId, *in.GrantId, nil
	default:
		return "", "", refuse(KindValidation, "Please specify either a grant token, or a key ARN and a grant ID.")
	}
}

func (c *call) mayRetire(g *store.Grant) bool {
	return c.caller.ownsAccount() && rootARN(c.caller.Account) == g.IssuingAccount || c.caller.ARN == g.Retiring ||
		c.caller.ARN == g.Grantee && slices.Contains(g.Operations, types.GrantOperationRetireGrant)
}

// grant returns one of the key's grants.
func (c *call) grant(k *keySnapshot, grantID string) (*store.Grant, error) {
	grants, err := c.s.grantsOf(c.ctx, k)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(grants, func(g store.Grant) bool { return g.ID == grantID })
	if i < 0 {
		return nil, grantNotFound(grantID)
	}
	return &grants[i], nil
}

func grantNotFound(grantID string) *Error {
	return refuse(KindNotFound, "Grant ID %s not found", cut(grantID))
}

func (c *call) deleteGrant(k *keySnapshot, grantID string) error {
	err := c.s.config.Store.Update(c.ctx, func(tx store.Tx) error {
		return tx.DeleteGrant(c.ctx, k.Scope, k.ID, grantID)
	})
	if errors.Is(err, store.ErrNotFound) {
		return grantNotFound(grantID)
	}
	return err
}

// RevokeGrant ends a grant from the side of those who administer the key.
func (s *Service) RevokeGrant(ctx context.Context, in *kms.RevokeGrantInput, _ ...func(*kms.Options)) (*kms.RevokeGrantOutput, error) {
	return serve(s, ctx, opRevokeGrant, in, (*call).revokeGrant)
}

func (c *call) revokeGrant(in *kms.RevokeGrantInput) (*kms.RevokeGrantOutput, error) {
	c.text("keyId", in.KeyId)
	c.text("grantId", in.GrantId)
	c.dry(in.DryRun)
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	if _, err := c.grant(k, *in.GrantId); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &kms.RevokeGrantOutput{}, c.deleteGrant(k, *in.GrantId)
}
