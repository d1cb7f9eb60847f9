package keysvc

import (
	"context"
	"slices"
	"strings"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// maxTags is AWS's quota of tags on a key.
const maxTags = 50

// TagResource adds tags to a key or replaces their values.
func (s *Service) TagResource(ctx context.Context, in *kms.TagResourceInput, _ ...func(*kms.Options)) (*kms.TagResourceOutput, error) {
	return serve(s, ctx, opTagResource, in, (*call).tagResource)
}

func (c *call) tagResource(in *kms.TagResourceInput) (*kms.TagResourceOutput, error) {
	c.text("keyId", in.KeyId)
	c.tags(in.Tags)
	_, err := c.change(*in.KeyId, func(tx store.Tx, key *store.Key) error {
		if err := checkTags(in.Tags); err != nil {
			return err
		}
		return c.putTags(tx, key.ID, in.Tags)
	})
	return &kms.TagResourceOutput{}, err
}

// UntagResource removes tags from a key.
func (s *Service) UntagResource(ctx context.Context, in *kms.UntagResourceInput, _ ...func(*kms.Options)) (*kms.UntagResourceOutput, error) {
	return serve(s, ctx, opUntagResource, in, (*call).untagResource)
}

func (c *call) untagResource(in *kms.UntagResourceInput) (*kms.UntagResourceOutput, error) {
	c.text("keyId", in.KeyId)
	c.params["tagKeys"] = in.TagKeys
	_, err := c.change(*in.KeyId, func(tx store.Tx, key *store.Key) error {
		for _, name := range in.TagKeys {
			if err := tx.DeleteTag(c.ctx, c.scope, key.ID, name); err != nil {
				return err
			}
		}
		return nil
	})
	return &kms.UntagResourceOutput{}, err
}

// ListResourceTags lists a key's tags.
func (s *Service) ListResourceTags(ctx context.Context, in *kms.ListResourceTagsInput, _ ...func(*kms.Options)) (*kms.ListResourceTagsOutput, error) {
	return serve(s, ctx, opListResourceTags, in, (*call).listResourceTags)
}

func (c *call) listResourceTags(in *kms.ListResourceTagsInput) (*kms.ListResourceTagsOutput, error) {
	c.text("keyId", in.KeyId)
	list, err := c.page(in.Limit, in.Marker, tagsPerPage, in.KeyId)
	if err != nil {
		return nil, err
	}
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	tags, next, err := readPage(c, list, func(t store.Tag) string { return t.Key }, func(tx store.Tx, after string, limit int) ([]store.Tag, error) {
		all, err := tx.Tags(c.ctx, k.Scope, k.ID)
		from := slices.IndexFunc(all, func(t store.Tag) bool { return t.Key > after })
		if from < 0 {
			return nil, err
		}
		return all[from:min(len(all), from+limit)], err
	})
	if err != nil {
		return nil, err
	}
	out := &kms.ListResourceTagsOutput{Tags: make([]types.Tag, 0, len(tags)), NextMarker: next, Truncated: next != nil}
	for _, t := range tags {
		out.Tags = append(out.Tags, types.Tag{TagKey: aws.String(t.Key), TagValue: aws.String(t.Value)})
	}
	return out, nil
}

// tags records tags as request parameters.
func (c *call) tags(tags []types.Tag) {
	if len(tags) == 0 {
		return
	}
	list := make([]audit.Params, len(tags))
	for i, t := range tags {
		list[i] = audit.Params{"tagKey": cut(aws.ToString(t.TagKey)), "tagValue": cut(aws.ToString(t.TagValue))}
	}
	c.params["tags"] = list
}

// checkTags refuses what is well formed and still not allowed.
func checkTags(tags []types.Tag) error {
	seen := make(map[string]bool, len(tags))
	for _, t := range tags {
		name := aws.ToString(t.TagKey)
		if strings.HasPrefix(strings.ToLower(name), "aws:") {
			return refuse(KindTag, "Tags beginning with aws: are reserved")
		}
		if seen[name] {
			return refuse(KindTag, "Duplicate tag keys")
		}
		seen[name] = true
	}
	if len(tags) > maxTags {
		return refuse(KindTag, "Too many tags")
	}
	return nil
}

// putTags stores tags unless the key would then have too many.
func (c *call) putTags(tx store.Tx, keyID string, tags []types.Tag) error {
	for _, t := range tags {
		if err := tx.PutTag(c.ctx, c.scope, keyID, store.Tag{Key: *t.TagKey, Value: *t.TagValue}); err != nil {
			return err
		}
	}
	all, err := tx.Tags(c.ctx, c.scope, keyID)
	if err == nil && len(all) > maxTags {
		return refuse(KindTag, "Too many tags")
	}
	return err
}
