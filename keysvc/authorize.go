package keysvc

import (
	"slices"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// access is what authorisation looks at beside the caller and the key.
type access struct {
	action      string            // without "kms:"; "" = the operation's name
	context     map[string]string // encryption context
	grantTokens []string
}

// authorize decides whether the caller may do something with a key: the root of
// the key's account and its administrators may, others need a grant. Nobody may
// manage a key that KMS manages. Key policies and identity policies will be evaluated here.
func (c *call) authorize(k *keySnapshot, a access) error {
	if a.action == "" {
		a.action = c.op.name
	}
	if k.Manager == types.KeyManagerTypeAws && !c.op.managed {
		return c.denied(a.action, k.arn, "no resource-based policy allows")
	}
	if err := c.checkGrantTokens(k, a.grantTokens); err != nil {
		return err
	}
	if c.owns(k.Account) {
		return nil
	}
	grants, err := c.s.grantsOf(c.ctx, k)
	if err != nil {
		return err
	}
	allows := func(g store.Grant) bool { return grantAllows(&g, c.caller.ARN, a) }
	if slices.ContainsFunc(grants, allows) {
		return nil
	}
	return c.denied(a.action, k.arn, "no resource-based policy allows")
}

// owns tells whether the caller may do with an account's keys what its root may.
func (c *call) owns(account string) bool {
	return c.caller.ownsAccount() && c.caller.Account == account
}

// authorizeAccount decides about operations on no key in particular.
func (c *call) authorizeAccount() error {
	if c.owns(c.scope.Account) {
		return nil
	}
	return c.denied(c.op.name, "*", "no identity-based policy allows")
}

func (c *call) denied(action, resource, reason string) *Error {
	return refuse(KindAccessDenied, "User: %s is not authorized to perform: kms:%s on resource: %s because %s the kms:%s action",
		c.caller.ARN, action, resource, reason, action)
}

// grantAllows tells whether a grant lets a principal do something.
func grantAllows(g *store.Grant, principal string, a access) bool {
	return g.Grantee == principal &&
		slices.Contains(g.Operations, types.GrantOperation(a.action)) &&
		constraintsHold(g.Constraints, a)
}

// constraintsHold checks a grant's constraints against the encryption context.
// DescribeKey, CreateGrant and RetireGrant have no context and are not limited
// by them.
func constraintsHold(constraints *types.GrantConstraints, a access) bool {
	if constraints == nil {
		return true
	}
	switch types.GrantOperation(a.action) {
	case types.GrantOperationDescribeKey, types.GrantOperationRetireGrant, types.GrantOperationCreateGrant:
		return true
	}
	if want := constraints.EncryptionContextEquals; len(want) > 0 {
		return len(want) == len(a.context) && containsPairs(a.context, want)
	}
	return containsPairs(a.context, constraints.EncryptionContextSubset)
}

func containsPairs(pairs, subset map[string]string) bool {
	for name, value := range subset {
		if got, ok := pairs[name]; !ok || got != value {
			return false
		}
	}
	return true
}
