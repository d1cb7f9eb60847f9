package keysvc

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"
)

// Related multi-Region keys have one id in several regions and the same backing keys,
// which the token has once. One of them is the primary: it is replicated and rotated,
// and what its rotation changes is copied to its replicas in the same transaction.
// Everything else (description, state, aliases, tags, grants) each has for itself.

// newMultiRegionID is the id of a new primary key.
func newMultiRegionID() string {
	id := uuid.New()
	return "mrk-" + store.BackingID(id).String()
}

// isPrimary tells a primary key from replicas and from keys of one region.
func isPrimary(key *store.Key) bool { return key.MultiRegion && key.PrimaryRegion == key.Region }

// isReplica tells a key that follows a primary in another region.
func isReplica(key *store.Key) bool { return key.MultiRegion && key.PrimaryRegion != key.Region }

// checkPrimary refuses what only a primary key can do. The text is AWS's.
func checkPrimary(key *store.Key) error {
	if !isPrimary(key) {
		return refuse(KindUnsupported, "%s is not a multi-region primary key.", keyARN(key.Scope, key.ID))
	}
	return nil
}

// inRegion is a key's scope in another region.
func inRegion(scope store.Scope, region string) store.Scope {
	return store.Scope{Account: scope.Account, Region: region}
}

// ReplicateKey makes a replica of a primary key in another region: a key with the same
// id and material that is administered by itself.
func (s *Service) ReplicateKey(ctx context.Context, in *kms.ReplicateKeyInput, _ ...func(*kms.Options)) (*kms.ReplicateKeyOutput, error) {
	return serve(s, ctx, opReplicateKey, in, (*call).replicateKey)
}

func (c *call) replicateKey(in *kms.ReplicateKeyInput) (*kms.ReplicateKeyOutput, error) {
	c.text("keyId", in.KeyId)
	c.text("replicaRegion", in.ReplicaRegion)
	c.text("description", in.Description)
	c.tags(in.Tags)
	c.policy(in.Policy, in.BypassPolicyLockoutSafetyCheck)
	if err := c.checkReplica(in); err != nil {
		return nil, err
	}
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkPrimary(&k.Key), c.authorizeAccount()); err != nil {
		return nil, err
	}
	replica, err := c.makeReplica(k, in)
	if err != nil {
		return nil, err
	}
	made, err := c.metadata(replica)
	if err != nil {
		return nil, err
	}
	// What AWS answers: there it takes a moment.
	made.KeyState, made.Enabled = types.KeyStateCreating, false
	c.touch(replica)
	c.response = audit.Params{"replicaKeyMetadata": audit.Params{"keyId": replica.ID, "arn": replica.arn, "keyState": made.KeyState}}
	policy, err := c.policyOf(replica)
	if err != nil {
		return nil, err
	}
	return &kms.ReplicateKeyOutput{ReplicaKeyMetadata: made, ReplicaTags: in.Tags, ReplicaPolicy: &policy}, nil
}

// checkReplica refuses what isn't well formed and what isn't there.
func (c *call) checkReplica(in *kms.ReplicateKeyInput) error {
	if !ValidRegion(*in.ReplicaRegion) {
		return refuse(KindValidation, "%s is not the name of a region.", *in.ReplicaRegion)
	}
	if err := checkTags(in.Tags); err != nil {
		return err
	}
	return c.checkPolicy(in.Policy)
}

// makeReplica stores the replica.
func (c *call) makeReplica(k *keySnapshot, in *kms.ReplicateKeyInput) (*keySnapshot, error) {
	var replica store.Key
	err := c.s.config.Store.Update(c.ctx, func(tx store.Tx) error {
		primary, err := tx.Key(c.ctx, k.Scope, k.ID)
		if err != nil {
			return err
		}
		if err := errors.Join(c.op.checkState(newSnapshot(primary, 0)), checkPrimary(&primary)); err != nil {
			return err
		}
		replica = replicaOf(&primary, *in.ReplicaRegion)
		replica.Description, replica.Created = aws.ToString(in.Description), c.now.UTC().Truncate(time.Millisecond)
		if _, err := tx.Key(c.ctx, replica.Scope, replica.ID); !errors.Is(err, store.ErrNotFound) {
			return errors.Join(refuse(KindAlreadyExists, "A key with the ARN %s already exists", keyARN(replica.Scope, replica.ID)), err)
		}
		there := *c
		there.scope = replica.Scope
		if err := there.roomForKey(tx); err != nil {
			return err
		}
		return errors.Join(tx.PutKey(c.ctx, replica), there.putTags(tx, replica.ID, in.Tags), there.putPolicy(tx, replica.ID, in.Policy),
			c.s.keepInStep(c.ctx, tx, &replica))
	})
	if errors.Is(err, store.ErrNotFound) {
		err = keyNotFound(k.Scope, k.ID)
	}
	return newSnapshot(replica, 0), err
}

// replicaOf is a key as it begins in another region. Imported material has to be
// imported there too.
func replicaOf(primary *store.Key, region string) store.Key {
	replica := *primary
	replica.Region, replica.State, replica.Materials = region, types.KeyStateEnabled, nil
	follow(&replica, primary)
	return replica
}

// follow copies to a replica what its primary has decided: the materials, and when the
// next is due.
func follow(replica, primary *store.Key) {
	replica.PrimaryRegion = primary.PrimaryRegion
	replica.RotationPeriodDays, replica.NextRotation = primary.RotationPeriodDays, primary.NextRotation
	if primary.Origin == types.OriginTypeExternal {
		replica.Materials = withImports(primary.Materials, replica.Materials)
		settle(replica)
		return
	}
	replica.Materials = slices.DeleteFunc(slices.Clone(primary.Materials), func(m store.Material) bool {
		return m.State == store.MaterialCreating
	})
}

// synchronize has the replicas of a primary key follow it, inside its transaction, and
// records that where their material changes.
func (s *Service) synchronize(ctx context.Context, tx store.Tx, primary *store.Key) error {
	if err := decidePending(ctx, tx, primary); err != nil {
		return err
	}
	return eachReplica(ctx, tx, primary, func(replica *store.Key) error {
		before := currentBacking(replica)
		follow(replica, primary)
		if err := tx.PutKey(ctx, *replica); err != nil || currentBacking(replica) == before {
			return err
		}
		return s.serviceEvent(ctx, "SynchronizeMultiRegionKey", newSnapshot(*replica, 0), audit.Params{})
	})
}

// currentBacking names the material in use, zero if there is none.
func currentBacking(key *store.Key) store.BackingID {
	if current := key.Current(); current != nil {
		return current.Backing
	}
	return store.BackingID{}
}

// eachReplica calls f for every key that is related to another.
func eachReplica(ctx context.Context, tx store.Tx, key *store.Key, f func(*store.Key) error) error {
	regions, err := tx.KeyRegions(ctx, key.Account, key.ID)
	for _, region := range regions {
		if err != nil || region == key.Region {
			continue
		}
		var related store.Key
		if related, err = tx.Key(ctx, inRegion(key.Scope, region), key.ID); err == nil {
			err = f(&related)
		}
	}
	return err
}

// UpdatePrimaryRegion makes a replica the primary key, and the primary key a replica.
func (s *Service) UpdatePrimaryRegion(ctx context.Context, in *kms.UpdatePrimaryRegionInput, _ ...func(*kms.Options)) (*kms.UpdatePrimaryRegionOutput, error) {
	return serve(s, ctx, opUpdatePrimaryRegion, in, (*call).updatePrimaryRegion)
}

func (c *call) updatePrimaryRegion(in *kms.UpdatePrimaryRegionInput) (*kms.UpdatePrimaryRegionOutput, error) {
	c.text("keyId", in.KeyId)
	c.text("primaryRegion", in.PrimaryRegion)
	_, err := c.change(*in.KeyId, func(tx store.Tx, key *store.Key) error {
		if err := checkPrimary(key); err != nil {
			return err
		}
		if isRotating(key, c.now) {
			return refuse(KindInvalidState, "%s is updating.", keyARN(key.Scope, key.ID))
		}
		scope := inRegion(key.Scope, *in.PrimaryRegion)
		next, err := tx.Key(c.ctx, scope, key.ID)
		switch {
		case scope.Region == key.Region:
			return refuse(KindValidation, "%s is the primary key already.", keyARN(scope, key.ID))
		case errors.Is(err, store.ErrNotFound):
			return keyNotFound(scope, key.ID)
		case err != nil:
			return err
		case stateColumn(next.State) == deletionColumn:
			return refuse(KindInvalidState, "%s is pending deletion.", keyARN(scope, key.ID))
		}
		if err := c.s.clearUnfinished(c.ctx, key); err != nil {
			return err
		}
		key.PrimaryRegion = scope.Region
		return eachReplica(c.ctx, tx, key, func(related *store.Key) error {
			related.PrimaryRegion = scope.Region
			return tx.PutKey(c.ctx, *related)
		})
	})
	return &kms.UpdatePrimaryRegionOutput{}, err
}

// regionsOf describes a multi-Region key and the keys that are related to it.
func (c *call) regionsOf(k *keySnapshot) (*types.MultiRegionConfiguration, error) {
	var regions []string
	err := c.s.config.Store.View(c.ctx, func(tx store.Tx) (err error) {
		regions, err = tx.KeyRegions(c.ctx, k.Account, k.ID)
		return err
	})
	if err != nil {
		return nil, internal(err)
	}
	in := func(region string) types.MultiRegionKey {
		return types.MultiRegionKey{Arn: aws.String(keyARN(inRegion(k.Scope, region), k.ID)), Region: aws.String(region)}
	}
	primary := in(k.PrimaryRegion)
	config := &types.MultiRegionConfiguration{
		MultiRegionKeyType: types.MultiRegionKeyTypePrimary, PrimaryKey: &primary, ReplicaKeys: []types.MultiRegionKey{},
	}
	if isReplica(&k.Key) {
		config.MultiRegionKeyType = types.MultiRegionKeyTypeReplica
	}
	for _, region := range regions {
		if region != k.PrimaryRegion {
			config.ReplicaKeys = append(config.ReplicaKeys, in(region))
		}
	}
	return config, nil
}
