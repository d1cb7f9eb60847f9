package keysvc

import (
	"context"
	"errors"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Sweep does what is due without waiting for a key's next use: it deletes keys
// whose waiting period is over, rotates those whose period is, takes expired
// imported material away, stores when keys were last used, clears away what
// crashes have left, and makes the token forget keys that another process has
// disabled. Any number of processes may sweep; each thing is done once. It goes
// on after an error and returns all of them.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.config.Now()
	var due []store.KeyRef
	err := s.config.Store.View(ctx, func(tx store.Tx) (err error) {
		due, err = tx.DueKeys(ctx, now, now.Add(-unfinishedAfter))
		return err
	})
	for _, ref := range due {
		err = errors.Join(err, s.sweepKey(ctx, ref))
	}
	err = errors.Join(err, s.sweepImports(ctx))
	err = errors.Join(err, s.sweepConnections(ctx), s.saveUses(ctx))
	for _, ref := range s.cache.refs() {
		if _, lookupErr := s.lookup(ctx, ref); !errors.Is(lookupErr, store.ErrNotFound) {
			err = errors.Join(err, lookupErr)
		}
	}
	return err
}

// sweepKey does for one key what its state asks for.
func (s *Service) sweepKey(ctx context.Context, ref store.KeyRef) error {
	k, err := s.load(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now := s.config.Now()
	switch {
	case deletionDue(&k.Key, now):
		return s.destroy(ctx, ref)
	case k.State == types.KeyStateCreating:
		return s.discard(ctx, ref)
	case materialExpired(&k.Key, now):
		return s.expire(ctx, ref)
	}
	for _, m := range k.Materials {
		if m.State == store.MaterialCreating && now.Sub(m.Created) >= unfinishedAfter {
			err = errors.Join(err, s.dropMaterial(ctx, ref, m.Backing))
		}
	}
	if rotationDue(&k.Key, now) {
		if rotateErr := s.rotate(ctx, k, types.RotationTypeAutomatic); !errors.Is(rotateErr, errNotDue) {
			err = errors.Join(err, rotateErr)
		}
	}
	return err
}
