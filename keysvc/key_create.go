//lint:file-ignore SA1019 AWS still accepts the deprecated member.

package keysvc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"
)

// unfinishedAfter is when a key or material that was begun and not finished is
// taken for the remains of a crash.
const unfinishedAfter = 10 * time.Minute

// CreateKey makes a key of any spec that the token can, with one backing key there.
func (s *Service) CreateKey(ctx context.Context, in *kms.CreateKeyInput, _ ...func(*kms.Options)) (*kms.CreateKeyOutput, error) {
	return serve(s, ctx, opCreateKey, in, (*call).createKey)
}

func (c *call) createKey(in *kms.CreateKeyInput) (*kms.CreateKeyOutput, error) {
	c.text("description", in.Description)
	word(c, "keySpec", in.KeySpec)
	word(c, "customerMasterKeySpec", in.CustomerMasterKeySpec)
	word(c, "keyUsage", in.KeyUsage)
	word(c, "origin", in.Origin)
	c.text("customKeyStoreId", in.CustomKeyStoreId)
	c.text("xksKeyId", in.XksKeyId)
	if isSet(in.MultiRegion) {
		c.params["multiRegion"] = true
	}
	c.tags(in.Tags)
	c.policy(in.Policy, in.BypassPolicyLockoutSafetyCheck)
	if err := c.checkCreateKey(in); err != nil {
		return nil, err
	}
	if err := c.authorizeAccount(); err != nil {
		return nil, err
	}
	key := c.keyFor(in)
	if err := c.placeKey(&key, in); err != nil {
		return nil, err
	}
	k, err := c.makeKey(key, func(tx store.Tx) error {
		return errors.Join(c.stillThere(tx, &key), c.putTags(tx, key.ID, in.Tags), c.putPolicy(tx, key.ID, in.Policy))
	})
	if err != nil {
		return nil, err
	}
	c.touch(k)
	c.response = audit.Params{"keyMetadata": audit.Params{
		"keyId": k.ID, "arn": k.arn, "keyState": k.State, "keySpec": k.Spec, "keyUsage": k.Usage,
		"keyManager": k.Manager, "origin": k.Origin, "description": k.Description, "creationDate": k.Created.Format(time.RFC3339)}}
	made, err := c.metadata(k)
	if err != nil {
		return nil, err
	}
	return &kms.CreateKeyOutput{KeyMetadata: made}, nil
}

// keyFor is the key that a checked input asks for, not made yet.
func (c *call) keyFor(in *kms.CreateKeyInput) store.Key {
	key := c.newKey(types.KeyManagerTypeCustomer)
	key.Spec = specOf(in)
	key.Usage = types.KeyUsageType(fallback(string(in.KeyUsage), string(types.KeyUsageTypeEncryptDecrypt)))
	if in.Origin == types.OriginTypeExternal {
		key.Origin, key.Materials = in.Origin, nil
	}
	if in.Description != nil {
		key.Description = *in.Description
	}
	if isSet(in.MultiRegion) {
		key.ID, key.MultiRegion, key.PrimaryRegion = newMultiRegionID(), true, key.Region
	}
	return key
}

// checkCreateKey refuses what isn't well formed and what isn't there yet.
func (c *call) checkCreateKey(in *kms.CreateKeyInput) error {
	if in.KeySpec != "" && in.CustomerMasterKeySpec != "" {
		return refuse(KindValidation, "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.")
	}
	if err := checkSpec(specOf(in), in.KeyUsage); err != nil {
		return err
	}
	if isSet(in.MultiRegion) && in.CustomKeyStoreId != nil {
		return refuse(KindUnsupported, "A multi-Region key can't be in a custom key store.")
	}
	if err := checkPlace(in); err != nil {
		return err
	}
	if err := checkTags(in.Tags); err != nil {
		return err
	}
	return c.checkPolicy(in.Policy)
}

// specOf is the key spec that an input asks for, by either name.
func specOf(in *kms.CreateKeyInput) types.KeySpec {
	spec := fallback(string(in.KeySpec), string(in.CustomerMasterKeySpec))
	return types.KeySpec(fallback(spec, string(types.KeySpecSymmetricDefault)))
}

// newKey is a symmetric key in the call's scope, not made yet.
func (c *call) newKey(manager types.KeyManagerType) store.Key {
	return store.Key{
		Scope: c.scope, ID: uuid.NewString(), Manager: manager,
		Spec: types.KeySpecSymmetricDefault, Usage: types.KeyUsageTypeEncryptDecrypt, Origin: types.OriginTypeAwsKms,
		State: types.KeyStateCreating, Created: c.now.UTC().Truncate(time.Millisecond),
		Materials: []store.Material{c.s.newMaterial(1)},
	}
}

func (s *Service) newMaterial(number int) store.Material {
	return store.Material{
		Backing: store.BackingID(hsm.NewKeyID()), Number: number,
		State: store.MaterialCreating, Created: s.config.Now(),
	}
}

// makeKey stores a key as Creating, generates its backing key and then stores it
// as Enabled together with what extra adds; one that waits for imported material has
// no backing key and is PendingImport. The store names the backing key before the
// token has it, so that a crash leaves nothing that Sweep can't find.
func (c *call) makeKey(key store.Key, extra func(store.Tx) error) (*keySnapshot, error) {
	s := c.s
	if key.Origin == types.OriginTypeExternal {
		key.State = types.KeyStatePendingImport
		err := s.config.Store.Update(c.ctx, func(tx store.Tx) error {
			if err := c.beginKey(tx, key); err != nil {
				return err
			}
			return extra(tx)
		})
		return newSnapshot(key, 0), err
	}
	if err := s.config.Store.Update(c.ctx, func(tx store.Tx) error { return c.beginKey(tx, key) }); err != nil {
		return nil, err
	}
	if err := s.generate(c.ctx, &key, key.Materials[0]); hsm.IsKind(err, hsm.KindCanceled) {
		return nil, err // the token may make it yet, and Sweep finds it
	} else if err != nil {
		return nil, errors.Join(err, s.discard(c.ctx, key.Ref()))
	}
	err := s.config.Store.Update(c.ctx, func(tx store.Tx) error {
		if err := c.finishKey(tx, &key); err != nil {
			return err
		}
		return extra(tx)
	})
	if err != nil {
		return nil, errors.Join(err, s.discard(c.ctx, key.Ref()))
	}
	return newSnapshot(key, 0), nil
}

func (c *call) beginKey(tx store.Tx, key store.Key) error {
	if err := c.roomForKey(tx); err != nil {
		return err
	}
	return tx.PutKey(c.ctx, key)
}

// finishKey makes a key usable whose backing key is made. What was changed of it
// meanwhile, such as that it is to be deleted, stays.
func (c *call) finishKey(tx store.Tx, key *store.Key) error {
	now, err := tx.Key(c.ctx, key.Scope, key.ID)
	if err != nil {
		return err
	}
	if now.State == types.KeyStateCreating {
		now.State = types.KeyStateEnabled
	}
	now.Materials[0].State = store.MaterialCurrent
	*key = now
	return tx.PutKey(c.ctx, now)
}

// generate makes a backing key of the type that the key's spec asks for.
func (s *Service) generate(ctx context.Context, key *store.Key, m store.Material) error {
	token, err := s.tokenOf(ctx, key)
	if err != nil {
		return err
	}
	id, label := hsm.KeyID(m.Backing), fmt.Sprintf("kms/%s/%d", key.ID, m.Number)
	switch {
	case isSymmetric(key):
		err = token.GenerateKey(ctx, id, label)
	case hasPublicKey(key):
		err = token.GenerateKeyPair(ctx, id, made(key), purposes[key.Usage], label)
	default:
		err = token.GenerateMACKey(ctx, id, made(key), label)
	}
	if hsm.IsKind(err, hsm.KindUnsupported) {
		return lacking(err, "KeySpec %s with KeyUsage %s", key.Spec, key.Usage)
	}
	if err != nil {
		return fromToken(err)
	}
	return nil
}

// discard removes a key that was never finished.
func (s *Service) discard(ctx context.Context, ref store.KeyRef) error {
	ctx, cancel := s.detached(ctx)
	defer cancel()
	return s.config.Store.Update(ctx, func(tx store.Tx) error {
		key, err := tx.Key(ctx, ref.Scope, ref.ID)
		if err != nil || key.State != types.KeyStateCreating {
			return err
		}
		if err := s.destroyMaterials(ctx, key.Materials); err != nil {
			return err
		}
		s.destroyInStore(ctx, &key)
		return tx.DeleteKey(ctx, ref.Scope, ref.ID)
	})
}
