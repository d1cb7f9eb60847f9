package keysvc

import (
	"context"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// ListGrants lists a key's grants, or those of one grantee, or one by its id.
func (s *Service) ListGrants(ctx context.Context, in *kms.ListGrantsInput, _ ...func(*kms.Options)) (*kms.ListGrantsOutput, error) {
	return serve(s, ctx, opListGrants, in, (*call).listGrants)
}

func (c *call) listGrants(in *kms.ListGrantsInput) (*kms.ListGrantsOutput, error) {
	c.text("keyId", in.KeyId)
	c.text("grantId", in.GrantId)
	c.text("granteePrincipal", in.GranteePrincipal)
	if in.GranteeServicePrincipal != nil {
		return nil, refuse(KindUnsupported, "Service principals are not supported in grants.")
	}
	list, err := c.page(in.Limit, in.Marker, somePerPage, in.KeyId, in.GrantId, in.GranteePrincipal)
	if err != nil {
		return nil, err
	}
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	entries, next, err := c.grantPage(list, store.GrantFilter{
		KeyID: k.ID, GrantID: aws.ToString(in.GrantId), Grantee: aws.ToString(in.GranteePrincipal)})
	if err != nil {
		return nil, err
	}
	return &kms.ListGrantsOutput{Grants: entries, NextMarker: next, Truncated: next != nil}, nil
}

// ListRetirableGrants lists the grants that a principal may retire.
func (s *Service) ListRetirableGrants(ctx context.Context, in *kms.ListRetirableGrantsInput, _ ...func(*kms.Options)) (*kms.ListRetirableGrantsOutput, error) {
	return serve(s, ctx, opListRetirableGrants, in, (*call).listRetirableGrants)
}

func (c *call) listRetirableGrants(in *kms.ListRetirableGrantsInput) (*kms.ListRetirableGrantsOutput, error) {
	c.text("retiringPrincipal", in.RetiringPrincipal)
	if in.RetiringServicePrincipal != nil {
		return nil, refuse(KindUnsupported, "Service principals are not supported in grants.")
	}
	if err := required("retiringPrincipal", in.RetiringPrincipal != nil); err != nil {
		return nil, err
	}
	list, err := c.page(in.Limit, in.Marker, somePerPage, in.RetiringPrincipal)
	if err != nil {
		return nil, err
	}
	if c.caller.ARN != *in.RetiringPrincipal {
		if err := c.authorizeAccount(); err != nil {
			return nil, err
		}
	}
	entries, next, err := c.grantPage(list, store.GrantFilter{Retiring: *in.RetiringPrincipal})
	if err != nil {
		return nil, err
	}
	return &kms.ListRetirableGrantsOutput{Grants: entries, NextMarker: next, Truncated: next != nil}, nil
}

func (c *call) grantPage(p page, filter store.GrantFilter) ([]types.GrantListEntry, *string, error) {
	grants, next, err := readPage(c, p, func(g store.Grant) string { return g.ID }, func(tx store.Tx, after string, limit int) ([]store.Grant, error) {
		return tx.Grants(c.ctx, c.scope, filter, after, limit)
	})
	entries := make([]types.GrantListEntry, 0, len(grants))
	for i := range grants {
		entries = append(entries, grantEntry(c.scope, &grants[i]))
	}
	return entries, next, err
}
