package main

import (
	"context"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

func newTagCommand(a *app) *cobra.Command {
	c := newParent("tag", "label keys", newTagAddCommand(a), newTagRemoveCommand(a), newTagListCommand(a))
	a.addEndpointFlag(c.PersistentFlags())
	return c
}

// tagsOf are pairs in the order of their names.
func tagsOf(pairs map[string]string) []types.Tag {
	var tags []types.Tag
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		tags = append(tags, types.Tag{TagKey: aws.String(name), TagValue: aws.String(pairs[name])})
	}
	return tags
}

func newTagAddCommand(a *app) *cobra.Command {
	var pairs map[string]string
	c := &cobra.Command{
		Use:     "add KEY --tags K=V,...",
		Short:   "add tags to a key, or change their values",
		Example: `  kmsfs tag add alias/app --tags team=storage,env=test`,
		Args:    needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(pairs) == 0 {
				return usagef("%s: --tags is missing", c.CommandPath())
			}
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				_, err := s.TagResource(c.Context(), &kms.TagResourceInput{KeyId: id, Tags: tagsOf(pairs)})
				return err
			})
		},
	}
	c.Flags().StringToStringVar(&pairs, "tags", nil, "the tags, K=V,... (required)")
	return c
}

// onKey runs f with the id of a KEY, for operations that take no aliases.
func (a *app) onKey(ctx context.Context, key string, f func(s keyClient, id *string) error) error {
	return a.withKeys(ctx, func(s keyClient) error {
		id, err := keyID(ctx, s, key)
		if err != nil {
			return err
		}
		return f(s, &id)
	})
}

func newTagRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "remove KEY NAME...",
		Aliases: []string{"rm"},
		Short:   "remove tags from a key",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("%s: KEY and NAME are needed", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				_, err := s.UntagResource(c.Context(), &kms.UntagResourceInput{KeyId: id, TagKeys: args[1:]})
				return err
			})
		},
	}
}

func newTagListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list KEY",
		Aliases: []string{"ls"},
		Short:   "list a key's tags",
		Args:    needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				tags, err := listTags(c.Context(), s, id)
				return show(a, "Tags", tags, err, a.printTags)
			})
		},
	}
}

func (a *app) printTags(tags []types.Tag) error {
	var rows [][]string
	for _, t := range tags {
		rows = append(rows, []string{aws.ToString(t.TagKey), aws.ToString(t.TagValue)})
	}
	return a.ui.Table([]string{"TAG", "VALUE"}, rows)
}

func listTags(ctx context.Context, s keyClient, id *string) ([]types.Tag, error) {
	return allPages(func(marker *string) ([]types.Tag, bool, *string, error) {
		out, err := s.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: id, Marker: marker})
		if err != nil {
			return nil, false, nil, err
		}
		return out.Tags, out.Truncated, out.NextMarker, nil
	})
}
