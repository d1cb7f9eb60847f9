package main

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

func newGrantCommand(a *app) *cobra.Command {
	c := newParent("grant", "let other principals use a key",
		newGrantCreateCommand(a), newGrantListCommand(a), newGrantListRetirableCommand(a), newGrantRetireCommand(a), newGrantRevokeCommand(a))
	a.addEndpointFlag(c.PersistentFlags())
	return c
}

// grantFlags are the flags of grant create.
type grantFlags struct {
	grantee, retiring, name string
	operations              []string
	subset, equals          map[string]string
}

func newGrantCreateCommand(a *app) *cobra.Command {
	var g grantFlags
	c := &cobra.Command{
		Use:   "create KEY --grantee ARN --operations OP,... [--context-subset K=V,...]",
		Short: "make a grant and print its id and token",
		Example: `  kmsfs grant create alias/laptop --grantee arn:aws:iam::000000000000:user/backup \
      --operations Decrypt --context-subset kmsfs:volume-id=vol-0123456789abcdef0123456789abcdef`,
		Args: needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				out, err := g.create(c.Context(), s, args[0])
				if err != nil {
					return err
				}
				if a.json {
					return a.ui.JSON(out)
				}
				return a.ui.Fields("Grant id", aws.ToString(out.GrantId), "Token", aws.ToString(out.GrantToken))
			})
		},
	}
	f := c.Flags()
	f.StringVar(&g.grantee, "grantee", "", "ARN of the principal that may use the key (required)")
	f.StringSliceVar(&g.operations, "operations", nil, "what it may do, such as Decrypt,GenerateDataKey (required)")
	f.StringVar(&g.retiring, "retiring-principal", "", "ARN of the principal that may retire the grant")
	f.StringVar(&g.name, "name", "", "name; making the same grant again returns the first one")
	f.StringToStringVar(&g.subset, "context-subset", nil, "only with an encryption context that has these pairs")
	f.StringToStringVar(&g.equals, "context-equals", nil, "only with exactly this encryption context")
	return c
}

// create calls CreateGrant.
func (g *grantFlags) create(ctx context.Context, s keyClient, key string) (*kms.CreateGrantOutput, error) {
	if g.grantee == "" || len(g.operations) == 0 {
		return nil, usagef("grant create needs --grantee and --operations")
	}
	id, err := keyID(ctx, s, key)
	if err != nil {
		return nil, err
	}
	in := &kms.CreateGrantInput{
		KeyId: aws.String(id), GranteePrincipal: aws.String(g.grantee),
		RetiringPrincipal: optional(g.retiring), Name: optional(g.name),
	}
	for _, op := range g.operations {
		in.Operations = append(in.Operations, types.GrantOperation(op))
	}
	if len(g.subset) > 0 || len(g.equals) > 0 {
		in.Constraints = &types.GrantConstraints{EncryptionContextSubset: g.subset, EncryptionContextEquals: g.equals}
	}
	return s.CreateGrant(ctx, in)
}

// optional is nil for an empty string, as the AWS SDK wants for absent members.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func newGrantListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list KEY",
		Aliases: []string{"ls"},
		Short:   "list a key's grants; each mounted volume has one",
		Args:    needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				grants, err := listGrants(c.Context(), s, args[0])
				return show(a, "Grants", grants, err, a.printGrants)
			})
		},
	}
}

func newGrantListRetirableCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list-retirable PRINCIPAL-ARN",
		Short: "list the grants that a principal may retire, of all keys",
		Args:  needArgs("PRINCIPAL-ARN"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				grants, err := listRetirableGrants(c.Context(), s, args[0])
				return show(a, "Grants", grants, err, a.printGrants)
			})
		},
	}
}

// listRetirableGrants reads every page of the grants that a principal may retire.
func listRetirableGrants(ctx context.Context, s keyClient, principal string) ([]types.GrantListEntry, error) {
	return allPages(func(marker *string) ([]types.GrantListEntry, bool, *string, error) {
		out, err := s.ListRetirableGrants(ctx, &kms.ListRetirableGrantsInput{RetiringPrincipal: &principal, Marker: marker})
		if err != nil {
			return nil, false, nil, err
		}
		return out.Grants, out.Truncated, out.NextMarker, nil
	})
}

// listGrants reads every page of a key's grants.
func listGrants(ctx context.Context, s keyClient, key string) ([]types.GrantListEntry, error) {
	id, err := keyID(ctx, s, key)
	if err != nil {
		return nil, err
	}
	return allPages(func(marker *string) ([]types.GrantListEntry, bool, *string, error) {
		out, err := s.ListGrants(ctx, &kms.ListGrantsInput{KeyId: aws.String(id), Marker: marker})
		if err != nil {
			return nil, false, nil, err
		}
		return out.Grants, out.Truncated, out.NextMarker, nil
	})
}

func (a *app) printGrants(grants []types.GrantListEntry) error {
	var rows [][]string
	for _, g := range grants {
		var ops []string
		for _, op := range g.Operations {
			ops = append(ops, string(op))
		}
		rows = append(rows, []string{
			aws.ToString(g.GrantId), orDash(aws.ToString(g.Name)), aws.ToString(g.GranteePrincipal),
			strings.Join(ops, ","), localTime(aws.ToTime(g.CreationDate)),
		})
	}
	return a.ui.Table([]string{"GRANT ID", "NAME", "GRANTEE", "OPERATIONS", "CREATED"}, rows)
}

func newGrantRetireCommand(a *app) *cobra.Command {
	var token string
	c := &cobra.Command{
		Use:   "retire (--token TOKEN | KEY GRANT-ID)",
		Short: "end a grant, as the principal that it was made for",
		Args: func(c *cobra.Command, args []string) error {
			if token != "" {
				return needArgs()(c, args)
			}
			return needArgs("KEY", "GRANT-ID")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				in := &kms.RetireGrantInput{GrantToken: optional(token)}
				if token == "" {
					meta, err := resolveKey(c.Context(), s, args[0])
					if err != nil {
						return err
					}
					in.KeyId, in.GrantId = meta.Arn, aws.String(args[1])
				}
				_, err := s.RetireGrant(c.Context(), in)
				return err
			})
		},
	}
	c.Flags().StringVar(&token, "token", "", "the token that grant create printed")
	return c
}

func newGrantRevokeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke KEY GRANT-ID",
		Short: "take a grant away, as an administrator of the key",
		Args:  needArgs("KEY", "GRANT-ID"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				_, err := s.RevokeGrant(c.Context(), &kms.RevokeGrantInput{KeyId: id, GrantId: aws.String(args[1])})
				return err
			})
		},
	}
}
