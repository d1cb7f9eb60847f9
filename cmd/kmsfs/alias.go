package main

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

func newAliasCommand(a *app) *cobra.Command {
	c := newParent("alias", "names for keys",
		newAliasCreateCommand(a), newAliasUpdateCommand(a), newAliasDeleteCommand(a), newAliasListCommand(a))
	a.addEndpointFlag(c.PersistentFlags())
	return c
}

func newAliasCreateCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "create alias/NAME KEY",
		Short:   "give a key a name",
		Example: "  kmsfs alias create alias/laptop 1234abcd-12ab-34cd-56ef-1234567890ab",
		Args:    needArgs("alias/NAME", "KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[1], func(s keyClient, id *string) error {
				_, err := s.CreateAlias(c.Context(), &kms.CreateAliasInput{AliasName: &args[0], TargetKeyId: id})
				return err
			})
		},
	}
}

func newAliasUpdateCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "update alias/NAME KEY",
		Short: "point a name at another key",
		Long:  `Volumes keep the key that they were made with: kmsfs init records the key, not the name.`,
		Args:  needArgs("alias/NAME", "KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[1], func(s keyClient, id *string) error {
				_, err := s.UpdateAlias(c.Context(), &kms.UpdateAliasInput{AliasName: &args[0], TargetKeyId: id})
				return err
			})
		},
	}
}

func newAliasDeleteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete alias/NAME",
		Short: "remove a name; its key stays",
		Args:  needArgs("alias/NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				_, err := s.DeleteAlias(c.Context(), &kms.DeleteAliasInput{AliasName: aws.String(args[0])})
				return err
			})
		},
	}
}

func newAliasListCommand(a *app) *cobra.Command {
	var key string
	c := &cobra.Command{
		Use:     "list [--key-id KEY]",
		Aliases: []string{"ls"},
		Short:   "list the names and their keys",
		Args:    needArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				id, err := keyID(c.Context(), s, key)
				if err != nil {
					return err
				}
				list, err := listAliases(c.Context(), s, id)
				return show(a, "Aliases", list, err, a.printAliases)
			})
		},
	}
	c.Flags().StringVar(&key, "key-id", "", "only the names of this KEY")
	return c
}

func (a *app) printAliases(list []types.AliasListEntry) error {
	var rows [][]string
	for _, e := range list {
		rows = append(rows, []string{aws.ToString(e.AliasName), orDash(aws.ToString(e.TargetKeyId)), orDash(localTime(aws.ToTime(e.CreationDate)))})
	}
	return a.ui.Table([]string{"ALIAS", "KEY ID", "CREATED"}, rows)
}
