package keysvc

import (
	"context"
	"errors"
	"strings"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// CreateAlias gives a key a name.
func (s *Service) CreateAlias(ctx context.Context, in *kms.CreateAliasInput, _ ...func(*kms.Options)) (*kms.CreateAliasOutput, error) {
	return serve(s, ctx, opCreateAlias, in, (*call).createAlias)
}

func (c *call) createAlias(in *kms.CreateAliasInput) (*kms.CreateAliasOutput, error) {
	if err := c.checkAlias(in.AliasName, in.TargetKeyId); err != nil {
		return nil, err
	}
	_, err := c.change(*in.TargetKeyId, func(tx store.Tx, key *store.Key) error {
		if err := c.roomForAlias(tx, key.ID); err != nil {
			return err
		}
		err := tx.CreateAlias(c.ctx, c.scope, store.Alias{Name: *in.AliasName, KeyID: key.ID, Created: c.now, Updated: c.now})
		if errors.Is(err, store.ErrExists) {
			return refuse(KindAlreadyExists, "An alias with the name %s already exists", arn(c.scope, *in.AliasName))
		}
		return err
	})
	return &kms.CreateAliasOutput{}, err
}

// UpdateAlias points an alias at another key.
func (s *Service) UpdateAlias(ctx context.Context, in *kms.UpdateAliasInput, _ ...func(*kms.Options)) (*kms.UpdateAliasOutput, error) {
	return serve(s, ctx, opUpdateAlias, in, (*call).updateAlias)
}

func (c *call) updateAlias(in *kms.UpdateAliasInput) (*kms.UpdateAliasOutput, error) {
	if err := c.checkAlias(in.AliasName, in.TargetKeyId); err != nil {
		return nil, err
	}
	source, err := c.aliasOwner(*in.AliasName)
	if err != nil {
		return nil, err
	}
	_, err = c.change(*in.TargetKeyId, func(tx store.Tx, key *store.Key) error {
		if source.Usage != key.Usage {
			return refuse(KindValidation, "Alias %s cannot be changed from a CMK with key usage %s to a CMK with key usage %s. The key usage of the current CMK and the new CMK must be the same.",
				*in.AliasName, source.Usage, key.Usage)
		}
		if isSymmetric(&source.Key) != isSymmetric(key) {
			return refuse(KindValidation, "Alias %s cannot be changed from a CMK with key spec %s to a CMK with key spec %s.", *in.AliasName, source.Spec, key.Spec)
		}
		if source.ID != key.ID {
			if err := c.roomForAlias(tx, key.ID); err != nil {
				return err
			}
		}
		err := tx.UpdateAlias(c.ctx, c.scope, store.Alias{Name: *in.AliasName, KeyID: key.ID, Updated: c.now})
		if errors.Is(err, store.ErrNotFound) {
			return aliasNotFound(c.scope, *in.AliasName)
		}
		return err
	})
	return &kms.UpdateAliasOutput{}, err
}

// DeleteAlias removes a name; the key stays.
func (s *Service) DeleteAlias(ctx context.Context, in *kms.DeleteAliasInput, _ ...func(*kms.Options)) (*kms.DeleteAliasOutput, error) {
	return serve(s, ctx, opDeleteAlias, in, (*call).deleteAlias)
}

func (c *call) deleteAlias(in *kms.DeleteAliasInput) (*kms.DeleteAliasOutput, error) {
	c.text("aliasName", in.AliasName)
	if err := checkAliasName(in.AliasName); err != nil {
		return nil, err
	}
	if _, err := c.aliasOwner(*in.AliasName); err != nil {
		return nil, err
	}
	err := c.s.config.Store.Update(c.ctx, func(tx store.Tx) error { return tx.DeleteAlias(c.ctx, c.scope, *in.AliasName) })
	if errors.Is(err, store.ErrNotFound) {
		return nil, aliasNotFound(c.scope, *in.AliasName)
	}
	return &kms.DeleteAliasOutput{}, err
}

// ListAliases lists the region's aliases or those of one key.
func (s *Service) ListAliases(ctx context.Context, in *kms.ListAliasesInput, _ ...func(*kms.Options)) (*kms.ListAliasesOutput, error) {
	return serve(s, ctx, opListAliases, in, (*call).listAliases)
}

func (c *call) listAliases(in *kms.ListAliasesInput) (*kms.ListAliasesOutput, error) {
	c.text("keyId", in.KeyId)
	list, err := c.page(in.Limit, in.Marker, somePerPage, in.KeyId)
	if err != nil {
		return nil, err
	}
	keyID, err := c.aliasFilter(in.KeyId)
	if err != nil {
		return nil, err
	}
	aliases, next, err := readPage(c, list, func(a store.Alias) string { return a.Name }, func(tx store.Tx, after string, limit int) ([]store.Alias, error) {
		return tx.Aliases(c.ctx, c.scope, keyID, after, limit)
	})
	if err != nil {
		return nil, err
	}
	out := &kms.ListAliasesOutput{Aliases: make([]types.AliasListEntry, 0, len(aliases)), NextMarker: next, Truncated: next != nil}
	for _, a := range aliases {
		out.Aliases = append(out.Aliases, types.AliasListEntry{
			AliasName: aws.String(a.Name), AliasArn: aws.String(arn(c.scope, a.Name)), TargetKeyId: aws.String(a.KeyID),
			CreationDate: aws.Time(a.Created), LastUpdatedDate: aws.Time(a.Updated),
		})
	}
	return out, nil
}

// aliasFilter authorises ListAliases and returns the id of the key that the list
// is limited to, or "".
func (c *call) aliasFilter(keyID *string) (string, error) {
	if err := c.authorizeAccount(); err != nil {
		return "", err
	}
	if keyID == nil {
		return "", nil
	}
	k, err := c.use(*keyID, access{})
	if err != nil {
		return "", err
	}
	return k.ID, nil
}

// checkAlias records and checks the members of CreateAlias and UpdateAlias.
func (c *call) checkAlias(name, target *string) error {
	c.text("aliasName", name)
	c.text("targetKeyId", target)
	if err := checkAliasName(name); err != nil {
		return err
	}
	if parsed, err := parseKeyName(c.scope, *target); err == nil && parsed.alias != "" {
		return refuse(KindValidation, "Aliases must refer to keys. Not aliases")
	}
	return nil
}

func checkAliasName(name *string) error {
	rest, ok := strings.CutPrefix(*name, aliasPrefix)
	switch {
	case !ok || rest == "":
		return refuse(KindValidation, `Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	case strings.HasPrefix(rest, "aws/"):
		return &Error{Kind: KindNotAuthorized}
	case strings.Contains(rest, ":"):
		return refuse(KindValidation, "%s contains invalid characters for an alias", *name)
	default:
		return nil
	}
}

// aliasOwner returns the key that an alias points to, after authorising the call
// on it. The key may be in any state.
func (c *call) aliasOwner(name string) (*keySnapshot, error) {
	id, err := c.s.lookupAlias(c.ctx, c.scope, name)
	if err != nil {
		return nil, err
	}
	k, err := c.findID(id)
	if err != nil {
		return nil, err
	}
	c.touch(k)
	return k, c.authorize(k, access{})
}

func (c *call) roomForAlias(tx store.Tx, keyID string) error {
	most := c.s.config.Quotas.AliasesPerKey
	all, err := tx.Aliases(c.ctx, c.scope, keyID, "", most)
	if err == nil && len(all) >= most {
		return refuse(KindLimitExceeded, "The key %s has %d aliases, which is the limit", keyARN(c.scope, keyID), most)
	}
	return err
}
