package keysvc

import (
	"context"
	"errors"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/keypolicy"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Key policies are not evaluated yet (authorize.go), so a key has only such policies as
// are in force anyway: those that mean what the default key policy means, and for keys
// that KMS manages one that says what authorize lets the account do. Who evaluates
// policies replaces checkPolicy.

const (
	// policyName is the name of a key's one policy.
	policyName = "default"
	// maxPolicy is how long a key policy may be, in bytes.
	maxPolicy = 32768
)

// managedActions is what a key that KMS manages lets its account do: the operations with
// the column managed in the table of operations.
var managedActions = []string{
	"kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext",
	"kms:GenerateDataKeyPair", "kms:GenerateDataKeyPairWithoutPlaintext", "kms:CreateGrant", "kms:RetireGrant", "kms:RevokeGrant", "kms:ListGrants",
	"kms:DescribeKey", "kms:GetKeyLastUsage", "kms:GetKeyPolicy", "kms:ListKeyPolicies", "kms:GetKeyRotationStatus", "kms:ListKeyRotations", "kms:ListResourceTags",
}

// GetKeyPolicy returns the policy of a key as it was put, or the one that a key without
// has.
func (s *Service) GetKeyPolicy(ctx context.Context, in *kms.GetKeyPolicyInput, _ ...func(*kms.Options)) (*kms.GetKeyPolicyOutput, error) {
	return serve(s, ctx, opGetKeyPolicy, in, (*call).getKeyPolicy)
}

func (c *call) getKeyPolicy(in *kms.GetKeyPolicyInput) (*kms.GetKeyPolicyOutput, error) {
	c.text("keyId", in.KeyId)
	c.text("policyName", in.PolicyName)
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	document, err := c.policyOf(k)
	if err != nil {
		return nil, err
	}
	return &kms.GetKeyPolicyOutput{Policy: &document, PolicyName: aws.String(policyName)}, nil
}

// policyOf is the policy that is in force for a key.
func (c *call) policyOf(k *keySnapshot) (string, error) {
	if k.Manager == types.KeyManagerTypeAws {
		return keypolicy.Managed(k.Account, managedActions), nil
	}
	var document string
	err := c.s.config.Store.View(c.ctx, func(tx store.Tx) (err error) {
		document, err = tx.Policy(c.ctx, k.Scope, k.ID)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return keypolicy.Default(k.Account), nil
	case err != nil:
		return "", internal(err)
	}
	return document, nil
}

// ListKeyPolicies lists the names of a key's policies, of which it has one.
func (s *Service) ListKeyPolicies(ctx context.Context, in *kms.ListKeyPoliciesInput, _ ...func(*kms.Options)) (*kms.ListKeyPoliciesOutput, error) {
	return serve(s, ctx, opListKeyPolicies, in, (*call).listKeyPolicies)
}

func (c *call) listKeyPolicies(in *kms.ListKeyPoliciesInput) (*kms.ListKeyPoliciesOutput, error) {
	c.text("keyId", in.KeyId)
	list, err := c.page(in.Limit, in.Marker, manyPerPage, in.KeyId)
	if err != nil {
		return nil, err
	}
	if _, err := c.use(*in.KeyId, access{}); err != nil {
		return nil, err
	}
	out := &kms.ListKeyPoliciesOutput{PolicyNames: []string{}}
	if list.after < policyName {
		out.PolicyNames = append(out.PolicyNames, policyName)
	}
	return out, nil
}

// PutKeyPolicy sets a key's policy, which can only be one that means the same as the
// default key policy.
func (s *Service) PutKeyPolicy(ctx context.Context, in *kms.PutKeyPolicyInput, _ ...func(*kms.Options)) (*kms.PutKeyPolicyOutput, error) {
	return serve(s, ctx, opPutKeyPolicy, in, (*call).putKeyPolicy)
}

func (c *call) putKeyPolicy(in *kms.PutKeyPolicyInput) (*kms.PutKeyPolicyOutput, error) {
	c.text("keyId", in.KeyId)
	c.text("policyName", in.PolicyName)
	c.policy(in.Policy, in.BypassPolicyLockoutSafetyCheck)
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkPolicyName(in.PolicyName), c.checkPolicy(in.Policy)); err != nil {
		return nil, err
	}
	err = c.s.config.Store.Update(c.ctx, func(tx store.Tx) error {
		if _, err := tx.Key(c.ctx, k.Scope, k.ID); err != nil {
			return err
		}
		return c.putPolicy(tx, k.ID, in.Policy)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, keyNotFound(k.Scope, k.ID)
	}
	if err != nil {
		return nil, internal(err)
	}
	c.response = audit.Params{"keyId": k.arn}
	return &kms.PutKeyPolicyOutput{}, nil
}

// policy records a key policy, whole, and that the check for one that locks the caller
// out is left aside.
func (c *call) policy(document *string, bypass bool) {
	if document != nil {
		c.params["policy"] = *document
		if len(*document) > maxPolicy {
			c.params["policy"] = cut(*document)
		}
		c.params["bypassPolicyLockoutSafetyCheck"] = bypass
	}
}

// putPolicy stores a policy that was checked; nil leaves the default.
func (c *call) putPolicy(tx store.Tx, keyID string, document *string) error {
	if document == nil {
		return nil
	}
	return tx.PutPolicy(c.ctx, c.scope, keyID, *document)
}

func checkPolicyName(name *string) error {
	if name != nil && *name != policyName {
		return refuse(KindNotFound, "No such policy exists")
	}
	return nil
}

// checkPolicy refuses a key policy that isn't well formed, and one that wouldn't be in
// force. One that passes lets the account's root put another, so nobody is locked out.
func (c *call) checkPolicy(document *string) error {
	if document == nil {
		return nil
	}
	if len(*document) > maxPolicy {
		return refuse(KindLimitExceeded, "The key policy has %d bytes, more than the limit of %d", len(*document), maxPolicy)
	}
	policy, err := keypolicy.Parse(*document)
	if err != nil {
		return refuse(KindMalformedPolicy, "%s", err)
	}
	if !policy.MeansDefault(c.scope.Account) {
		return refuse(KindUnsupported, "Only key policies that mean the same as the default key policy are supported, which lets the account's root do everything: use grants (CreateGrant) to let other principals use the key.")
	}
	return nil
}
