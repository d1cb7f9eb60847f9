package keysvc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"slices"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// CreateGrant lets a principal use a key for the operations that the grant
// names.
func (s *Service) CreateGrant(ctx context.Context, in *kms.CreateGrantInput, _ ...func(*kms.Options)) (*kms.CreateGrantOutput, error) {
	return serve(s, ctx, opCreateGrant, in, (*call).createGrant)
}

func (c *call) createGrant(in *kms.CreateGrantInput) (*kms.CreateGrantOutput, error) {
	c.grantParams(in)
	if err := checkGrant(in); err != nil {
		return nil, err
	}
	k, err := c.use(*in.KeyId, access{grantTokens: in.GrantTokens})
	if err != nil {
		return nil, err
	}
	grant := c.newGrant(k, in)
	if err := errors.Join(fits(k, grant.Operations, grant.Constraints), c.mayDelegate(k, grant), dryRun(in.DryRun)); err != nil {
		return nil, err
	}
	if _, err := c.change(*in.KeyId, func(tx store.Tx, _ *store.Key) error { return c.putGrant(tx, grant) }); err != nil {
		return nil, err
	}
	c.response = audit.Params{"grantId": grant.ID, "keyId": k.arn}
	return &kms.CreateGrantOutput{
		GrantId: aws.String(grant.ID), GrantToken: aws.String(newGrantToken(k.ID, grant.ID)),
	}, nil
}

// newGrant makes the grant of a checked input.
func (c *call) newGrant(k *keySnapshot, in *kms.CreateGrantInput) *store.Grant {
	var id [32]byte
	_, _ = rand.Read(id[:]) // never fails
	operations := slices.Clone(in.Operations)
	slices.Sort(operations)
	return &store.Grant{
		ID: hex.EncodeToString(id[:]), KeyID: k.ID, Name: aws.ToString(in.Name),
		Grantee: *in.GranteePrincipal, Retiring: aws.ToString(in.RetiringPrincipal),
		IssuingAccount: rootARN(c.caller.Account), Operations: slices.Compact(operations),
		Constraints: in.Constraints, Created: c.now,
	}
}

// putGrant stores a grant. A second grant of the same name and content is the
// first one: its id is put into grant.
func (c *call) putGrant(tx store.Tx, grant *store.Grant) error {
	existing, err := tx.Grants(c.ctx, c.scope, store.GrantFilter{KeyID: grant.KeyID}, "", maxGrants)
	if err != nil {
		return err
	}
	if grant.Name != "" {
		if i := slices.IndexFunc(existing, func(g store.Grant) bool { return sameGrant(&g, grant) }); i >= 0 {
			grant.ID = existing[i].ID
			return nil
		}
	}
	if most := c.s.config.Quotas.GrantsPerKey; len(existing) >= most {
		return refuse(KindLimitExceeded, "The key %s has %d grants, which is the limit", keyARN(c.scope, grant.KeyID), most)
	}
	return tx.CreateGrant(c.ctx, c.scope, *grant)
}

func sameGrant(a, b *store.Grant) bool {
	return a.Name == b.Name && a.Grantee == b.Grantee && a.Retiring == b.Retiring &&
		slices.Equal(a.Operations, b.Operations) &&
		maps.Equal(contextEquals(a), contextEquals(b)) && maps.Equal(contextSubset(a), contextSubset(b))
}

func contextEquals(g *store.Grant) map[string]string {
	if g.Constraints == nil {
		return nil
	}
	return g.Constraints.EncryptionContextEquals
}

func contextSubset(g *store.Grant) map[string]string {
	if g.Constraints == nil {
		return nil
	}
	return g.Constraints.EncryptionContextSubset
}

// mayDelegate refuses a grant that gives more than the caller has, if the caller
// may create grants only because of a grant.
func (c *call) mayDelegate(k *keySnapshot, child *store.Grant) error {
	if c.owns(k.Account) {
		return nil
	}
	grants, err := c.s.grantsOf(c.ctx, k)
	if err != nil {
		return err
	}
	for _, parent := range grants {
		if grantAllows(&parent, c.caller.ARN, access{action: c.op.name}) && narrower(child, &parent) {
			return nil
		}
	}
	return c.denied(c.op.name, k.arn, "no resource-based policy allows")
}

// narrower tells whether a grant gives at most what its parent gives: a subset
// of the operations, under the same constraints or stricter ones.
func narrower(child, parent *store.Grant) bool {
	for _, op := range child.Operations {
		if !slices.Contains(parent.Operations, op) {
			return false
		}
	}
	if want := contextEquals(parent); len(want) > 0 {
		return maps.Equal(contextEquals(child), want)
	}
	want := contextSubset(parent)
	return containsPairs(contextSubset(child), want) || containsPairs(contextEquals(child), want)
}
