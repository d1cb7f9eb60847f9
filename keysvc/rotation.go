package keysvc

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const (
	defaultRotationDays = 365
	// maxOnDemand is how often a key may be rotated on demand.
	maxOnDemand = 25
)

// errNotDue says that somebody else has rotated the key already.
var errNotDue = errors.New("rotation is not due")

// RotateKeyOnDemand gives a key new material at once. Old material goes on
// decrypting, and the schedule of automatic rotation stays.
func (s *Service) RotateKeyOnDemand(ctx context.Context, in *kms.RotateKeyOnDemandInput, _ ...func(*kms.Options)) (*kms.RotateKeyOnDemandOutput, error) {
	return serve(s, ctx, opRotateKeyOnDemand, in, (*call).rotateKeyOnDemand)
}

func (c *call) rotateKeyOnDemand(in *kms.RotateKeyOnDemandInput) (*kms.RotateKeyOnDemandOutput, error) {
	c.text("keyId", in.KeyId)
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	if err := checkRotatable(&k.Key); err != nil {
		return nil, err
	}
	if k.Origin == types.OriginTypeExternal {
		err = c.s.rotateToImported(c.ctx, k)
	} else {
		err = c.s.rotate(c.ctx, k, types.RotationTypeOnDemand)
	}
	if err != nil {
		return nil, err
	}
	c.response = audit.Params{"keyId": k.arn}
	return &kms.RotateKeyOnDemandOutput{KeyId: aws.String(k.arn)}, nil
}

// checkRotatable refuses rotation of anything but symmetric keys, of which AWS sends
// no text, of keys in custom key stores, and of replicas, which follow their primary
// key.
func checkRotatable(key *store.Key) error {
	switch {
	case !isSymmetric(key):
		return &Error{Kind: KindUnsupported}
	case key.CustomKeyStoreID != "":
		return refuse(KindUnsupported, "%s origin is %s which is not valid for this operation.", keyARN(key.Scope, key.ID), key.Origin)
	case isReplica(key):
		return refuse(KindUnsupported, "%s is a multi-region replica key, which its primary key rotates.", keyARN(key.Scope, key.ID))
	}
	return nil
}

// rotateToImported makes the imported material current that waits for it.
func (s *Service) rotateToImported(ctx context.Context, k *keySnapshot) error {
	var material store.Material
	err := s.update(ctx, k.Ref(), func(_ store.Tx, key *store.Key) error {
		if err := opRotateKeyOnDemand.checkState(newSnapshot(*key, 0)); err != nil {
			return err
		}
		if err := checkRotatable(key); err != nil {
			return err
		}
		for _, m := range key.Materials {
			if m.State == store.MaterialPending {
				material = m
				return s.promote(key, m.Backing, types.RotationTypeOnDemand)
			}
		}
		return refuse(KindInvalidState, "No available key material pending rotation for the key: %s", k.arn)
	})
	if err != nil {
		return err
	}
	return s.serviceEvent(ctx, "RotateKey", k, audit.Params{
		"rotationType": types.RotationTypeOnDemand, "keyMaterialId": materialID(k.ID, material.Backing)})
}

// rotateIfDue rotates a key whose automatic rotation is due and returns it as it
// is then. If that fails the key is used as it is and a later use tries again.
func (s *Service) rotateIfDue(ctx context.Context, k *keySnapshot) *keySnapshot {
	if now := s.config.Now(); !rotationDue(&k.Key, now) || isRotating(&k.Key, now) {
		return k
	}
	err := s.rotate(ctx, k, types.RotationTypeAutomatic)
	if err != nil && !errors.Is(err, errNotDue) {
		s.config.Logger.Error("automatic rotation failed; the key's material stays", "key", k.arn, "error", err)
		return k
	}
	fresh, err := s.lookup(ctx, k.Ref())
	if err != nil {
		return k
	}
	return fresh
}

func rotationDue(key *store.Key, now time.Time) bool {
	return key.RotationPeriodDays > 0 && key.State == types.KeyStateEnabled && !now.Before(key.NextRotation) && !isReplica(key)
}

// rotate adds material to a key in three steps, of which each leaves the key
// usable: name the new backing key in the store, generate it in the token, make
// it current.
func (s *Service) rotate(ctx context.Context, k *keySnapshot, kind types.RotationType) error {
	var material store.Material
	err := s.update(ctx, k.Ref(), func(_ store.Tx, key *store.Key) error {
		if err := s.admitRotation(ctx, key, kind); err != nil {
			return err
		}
		material = s.newMaterial(nextNumber(key))
		key.Materials = append(key.Materials, material)
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.generate(ctx, &k.Key, material); err != nil {
		return s.giveUp(ctx, k.Ref(), material.Backing, err)
	}
	err = s.update(ctx, k.Ref(), func(_ store.Tx, key *store.Key) error {
		return s.promote(key, material.Backing, kind)
	})
	if err != nil {
		return s.giveUp(ctx, k.Ref(), material.Backing, err)
	}
	return s.serviceEvent(ctx, "RotateKey", k, audit.Params{
		"rotationType": kind, "keyMaterialId": materialID(k.ID, material.Backing)})
}

// admitRotation checks, inside the transaction, that a rotation may begin. It
// clears away what a crashed one has left.
func (s *Service) admitRotation(ctx context.Context, key *store.Key, kind types.RotationType) error {
	if err := opRotateKeyOnDemand.checkState(newSnapshot(*key, 0)); err != nil {
		return err
	}
	if err := checkRotatable(key); err != nil {
		return err
	}
	now := s.config.Now()
	onDemand := 0
	for _, m := range key.Materials {
		if m.Rotation == types.RotationTypeOnDemand {
			onDemand++
		}
	}
	switch {
	case kind == types.RotationTypeAutomatic && (!rotationDue(key, now) || isRotating(key, now)):
		return errNotDue
	case isRotating(key, now):
		return refuse(KindConflict, "A rotation of the key %s is in progress.", keyARN(key.Scope, key.ID))
	case kind == types.RotationTypeOnDemand && onDemand >= maxOnDemand:
		return refuse(KindLimitExceeded, "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: %s", keyARN(key.Scope, key.ID))
	}
	return s.clearUnfinished(ctx, key)
}

// nextNumber is the number of the key's next material.
func nextNumber(key *store.Key) int {
	next := 1
	for _, m := range key.Materials {
		next = max(next, m.Number+1)
	}
	return next
}

// isRotating tells whether material of a key is being made.
func isRotating(key *store.Key, now time.Time) bool {
	return slices.ContainsFunc(key.Materials, func(m store.Material) bool {
		return m.State == store.MaterialCreating && now.Sub(m.Created).Abs() < unfinishedAfter // the clock may have been wrong
	})
}

// clearUnfinished destroys, inside the transaction, material that was never finished.
func (s *Service) clearUnfinished(ctx context.Context, key *store.Key) error {
	kept := key.Materials[:0]
	for _, m := range key.Materials {
		if m.State != store.MaterialCreating {
			kept = append(kept, m)
		} else if err := s.destroyMaterials(ctx, []store.Material{m}); err != nil {
			return err
		}
	}
	key.Materials = kept
	return nil
}

// promote makes a material current.
func (s *Service) promote(key *store.Key, backing store.BackingID, kind types.RotationType) error {
	now := s.config.Now()
	found := false
	for i := range key.Materials {
		m := &key.Materials[i]
		switch {
		case m.Backing == backing:
			m.State, m.Rotation, m.Rotated, found = store.MaterialCurrent, kind, now, true
		case m.State == store.MaterialCurrent:
			m.State = store.MaterialNonCurrent
		}
	}
	if !found {
		return refuse(KindConflict, "The rotation of the key %s was given up.", keyARN(key.Scope, key.ID))
	}
	if kind == types.RotationTypeAutomatic {
		key.NextRotation = now.Add(time.Duration(key.RotationPeriodDays) * day)
	}
	return nil
}

// giveUp removes material that came to nothing because of cause, if that isn't nil,
// which it returns. While the token may be at it still, as the caller has gone, Sweep is
// left to do that.
func (s *Service) giveUp(ctx context.Context, ref store.KeyRef, backing store.BackingID, cause error) error {
	if hsm.IsKind(cause, hsm.KindCanceled) {
		return cause
	}
	return errors.Join(cause, s.dropMaterial(ctx, ref, backing))
}

// dropMaterial removes material whose rotation or import has failed.
func (s *Service) dropMaterial(ctx context.Context, ref store.KeyRef, backing store.BackingID) error {
	ctx, cancel := s.detached(ctx)
	defer cancel()
	return s.update(ctx, ref, func(_ store.Tx, key *store.Key) error {
		kept := key.Materials[:0]
		for _, m := range key.Materials {
			if m.Backing != backing || m.State != store.MaterialCreating {
				kept = append(kept, m)
			} else if err := s.destroyMaterials(ctx, []store.Material{m}); err != nil {
				return err
			}
		}
		key.Materials = kept
		return nil
	})
}
