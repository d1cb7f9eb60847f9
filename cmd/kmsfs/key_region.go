package main

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/spf13/cobra"
)

func newKeyReplicateCommand(a *app) *cobra.Command {
	var description string
	var tags map[string]string
	var policy policyFlags
	c := &cobra.Command{
		Use:   "replicate KEY REGION [--description TEXT] [--tags K=V,...]",
		Short: "make the replica of a multi-Region key in another region and print its ARN",
		Args:  needArgs("KEY", "REGION"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := policy.read(a); err != nil {
				return err
			}
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				out, err := s.ReplicateKey(c.Context(), &kms.ReplicateKeyInput{KeyId: id, ReplicaRegion: &args[1], Description: optional(description), Tags: tagsOf(tags),
					Policy: policy.document, BypassPolicyLockoutSafetyCheck: policy.bypass})
				if err != nil {
					return policy.explain(err)
				}
				if a.json {
					return a.ui.JSON(out)
				}
				a.ui.Line("%s", aws.ToString(out.ReplicaKeyMetadata.Arn))
				return nil
			})
		},
	}
	c.Flags().StringVar(&description, "description", "", "what the replica is for")
	c.Flags().StringToStringVar(&tags, "tags", nil, "tags, K=V,...")
	policy.add(c)
	return c
}

func newKeyUpdatePrimaryCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "update-primary KEY REGION",
		Aliases: []string{"update-primary-region"},
		Short:   "make the replica in another region the primary key",
		Args:    needArgs("KEY", "REGION"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				_, err := s.UpdatePrimaryRegion(c.Context(), &kms.UpdatePrimaryRegionInput{KeyId: id, PrimaryRegion: &args[1]})
				return err
			})
		},
	}
}
