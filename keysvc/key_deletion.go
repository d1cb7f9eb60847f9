package keysvc

import (
	"context"
	"errors"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// defaultDeletionDays is the usual waiting period before a key is deleted.
const defaultDeletionDays = 30

const day = 24 * time.Hour

// ScheduleKeyDeletion makes a key unusable now and has it destroyed, with
// everything that was ever encrypted under it, after 7 to 30 days.
func (s *Service) ScheduleKeyDeletion(ctx context.Context, in *kms.ScheduleKeyDeletionInput, _ ...func(*kms.Options)) (*kms.ScheduleKeyDeletionOutput, error) {
	return serve(s, ctx, opScheduleKeyDeletion, in, (*call).scheduleKeyDeletion)
}

func (c *call) scheduleKeyDeletion(in *kms.ScheduleKeyDeletionInput) (*kms.ScheduleKeyDeletionOutput, error) {
	c.text("keyId", in.KeyId)
	c.number("pendingWindowInDays", in.PendingWindowInDays)
	window := int32(defaultDeletionDays)
	if in.PendingWindowInDays != nil {
		window = *in.PendingWindowInDays
	}
	date := c.now.UTC().Truncate(time.Millisecond).Add(time.Duration(window) * day)
	waits := false
	k, err := c.change(*in.KeyId, func(tx store.Tx, key *store.Key) (err error) {
		key.State, key.DeletionDate, key.DeletionWindowDays = types.KeyStatePendingDeletion, date, window
		if waits, err = hasReplicas(c.ctx, tx, key); waits {
			key.State, key.DeletionDate = types.KeyStatePendingReplicaDeletion, time.Time{}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if waits {
		c.response = audit.Params{"keyId": k.arn, "keyState": types.KeyStatePendingReplicaDeletion}
		return &kms.ScheduleKeyDeletionOutput{
			KeyId: aws.String(k.arn), KeyState: types.KeyStatePendingReplicaDeletion, PendingWindowInDays: aws.Int32(window),
		}, nil
	}
	c.response = audit.Params{"keyId": k.arn, "keyState": types.KeyStatePendingDeletion, "deletionDate": date.Format(time.RFC3339)}
	return &kms.ScheduleKeyDeletionOutput{
		KeyId: aws.String(k.arn), DeletionDate: aws.Time(date),
		KeyState: types.KeyStatePendingDeletion, PendingWindowInDays: aws.Int32(window),
	}, nil
}

// CancelKeyDeletion keeps a key whose deletion is scheduled; it is then
// disabled.
func (s *Service) CancelKeyDeletion(ctx context.Context, in *kms.CancelKeyDeletionInput, _ ...func(*kms.Options)) (*kms.CancelKeyDeletionOutput, error) {
	return serve(s, ctx, opCancelKeyDeletion, in, (*call).cancelKeyDeletion)
}

func (c *call) cancelKeyDeletion(in *kms.CancelKeyDeletionInput) (*kms.CancelKeyDeletionOutput, error) {
	c.text("keyId", in.KeyId)
	k, err := c.change(*in.KeyId, func(_ store.Tx, key *store.Key) error {
		if deletionDue(key, c.now) {
			return keyNotFound(key.Scope, key.ID)
		}
		key.State, key.DeletionDate, key.DeletionWindowDays = types.KeyStateDisabled, time.Time{}, 0
		settle(key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.response = audit.Params{"keyId": k.arn}
	return &kms.CancelKeyDeletionOutput{KeyId: aws.String(k.arn)}, nil
}

func deletionDue(key *store.Key, now time.Time) bool {
	return key.State == types.KeyStatePendingDeletion && !now.Before(key.DeletionDate)
}

// destroy deletes a key whose waiting period is over: its backing keys in the
// token, its record, and everything that hangs on it. Only one process does it,
// as the store's updates exclude each other; after a crash it is done again.
func (s *Service) destroy(ctx context.Context, ref store.KeyRef) error {
	ctx, cancel := s.detached(ctx)
	defer cancel()
	err := s.config.Store.Update(ctx, func(tx store.Tx) error {
		key, err := tx.Key(ctx, ref.Scope, ref.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && !deletionDue(&key, s.config.Now()) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, m := range key.Materials {
			if err := s.destroyUnshared(ctx, tx, m); err != nil {
				return err
			}
		}
		if err := s.destroyWrappingKeys(ctx, tx, &key); err != nil {
			return err
		}
		s.destroyInStore(ctx, &key)
		if err := tx.DeleteKey(ctx, ref.Scope, ref.ID); err != nil {
			return err
		}
		if err := s.releasePrimary(ctx, tx, &key); err != nil {
			return err
		}
		return s.serviceEvent(ctx, "DeleteKey", newSnapshot(key, 0), audit.Params{})
	})
	if err != nil {
		return err
	}
	s.cache.remove(ref)
	return nil
}

// destroyMaterials destroys backing keys. Those that the token doesn't hold, or
// no longer, are fine.
func (s *Service) destroyMaterials(ctx context.Context, materials []store.Material) error {
	for _, m := range materials {
		err := s.config.Token.DestroyKey(ctx, hsm.KeyID(m.Backing))
		if err != nil && !hsm.IsKind(err, hsm.KindKeyNotFound) {
			return fromToken(err)
		}
	}
	return nil
}

// destroyUnshared destroys a key's backing key unless a related key in another region
// has it too. A key that waits for its import doesn't have it itself.
func (s *Service) destroyUnshared(ctx context.Context, tx store.Tx, m store.Material) error {
	others, err := tx.MaterialUsers(ctx, m.Backing)
	if m.Import != types.ImportStatePendingImport {
		others--
	}
	if err != nil || others > 0 {
		return err
	}
	return s.destroyMaterials(ctx, []store.Material{m})
}

// destroyWrappingKeys destroys what was made for imports into a key.
func (s *Service) destroyWrappingKeys(ctx context.Context, tx store.Tx, key *store.Key) error {
	imports, err := tx.Imports(ctx, key.Scope, key.ID)
	for _, i := range imports {
		err = errors.Join(err, s.destroyMaterials(ctx, []store.Material{{Backing: i.Backing}}))
	}
	return err
}

// hasReplicas tells whether a primary key has to outlive replicas.
func hasReplicas(ctx context.Context, tx store.Tx, key *store.Key) (bool, error) {
	if !isPrimary(key) {
		return false, nil
	}
	regions, err := tx.KeyRegions(ctx, key.Account, key.ID)
	return len(regions) > 1, err
}

// releasePrimary has a primary key go on without a replica that is gone: new material
// needn't wait for it any more, and if it was the last, the waiting period of a primary
// key begins that was to be deleted after it.
func (s *Service) releasePrimary(ctx context.Context, tx store.Tx, replica *store.Key) error {
	if !isReplica(replica) {
		return nil
	}
	if err := s.keepInStep(ctx, tx, replica); err != nil {
		return err
	}
	return eachReplica(ctx, tx, replica, func(key *store.Key) error {
		waits, err := hasReplicas(ctx, tx, key)
		if err != nil || waits || key.State != types.KeyStatePendingReplicaDeletion {
			return err
		}
		key.State = types.KeyStatePendingDeletion
		key.DeletionDate = s.config.Now().UTC().Truncate(time.Millisecond).Add(time.Duration(key.DeletionWindowDays) * day)
		return tx.PutKey(ctx, *key)
	})
}
