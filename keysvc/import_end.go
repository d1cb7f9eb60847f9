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
)

// DeleteImportedKeyMaterial destroys imported material in the token. The key waits for
// the same material to be imported again; until then what it encrypted is lost.
func (s *Service) DeleteImportedKeyMaterial(ctx context.Context, in *kms.DeleteImportedKeyMaterialInput, _ ...func(*kms.Options)) (*kms.DeleteImportedKeyMaterialOutput, error) {
	return serve(s, ctx, opDeleteImportedKeyMaterial, in, (*call).deleteImportedKeyMaterial)
}

func (c *call) deleteImportedKeyMaterial(in *kms.DeleteImportedKeyMaterialInput) (*kms.DeleteImportedKeyMaterialOutput, error) {
	c.text("keyId", in.KeyId)
	c.text("keyMaterialId", in.KeyMaterialId)
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := c.s.detached(c.ctx) // what is destroyed in the token must be so in the store
	defer cancel()
	c.ctx = ctx
	var material *string
	k, err := c.change(*in.KeyId, func(tx store.Tx, key *store.Key) error {
		if err := checkImports(key); err != nil {
			return err
		}
		m := named(key, in.KeyMaterialId)
		if m == nil {
			if in.KeyMaterialId != nil {
				return refuse(KindValidation, "The key %s has no key material %s.", keyARN(key.Scope, key.ID), *in.KeyMaterialId)
			}
			return nil // nothing was imported yet
		}
		material = importedMaterialID(newSnapshot(*key, 0), *m)
		return c.s.takeAway(c.ctx, tx, key, func(other *store.Material) bool { return other.Backing == m.Backing })
	})
	if err != nil {
		return nil, err
	}
	c.response = audit.Params{"keyId": k.arn}
	if material != nil {
		c.response["keyMaterialId"] = *material
	}
	return &kms.DeleteImportedKeyMaterialOutput{KeyId: aws.String(k.arn), KeyMaterialId: material}, nil
}

// named finds a key's material by its id, or without one the current material.
func named(key *store.Key, id *string) *store.Material {
	if id == nil {
		return key.Current()
	}
	for i := range key.Materials {
		if m := &key.Materials[i]; m.State != store.MaterialCreating && materialID(key.ID, m.Backing) == *id {
			return m
		}
	}
	return nil
}

// takeAway destroys the imported materials that which selects, if no related key in
// another region has them too. Material that waits for rotation isn't bound to the key
// yet and is forgotten, by the replicas of a primary key too; of other material the check
// value stays, and of what has expired, when.
func (s *Service) takeAway(ctx context.Context, tx store.Tx, key *store.Key, which func(*store.Material) bool) error {
	kept := key.Materials[:0]
	for _, m := range key.Materials {
		switch forgotten := isPending(&m) && !isReplica(key); {
		case !which(&m):
		case forgotten:
			if err := s.destroyMaterials(ctx, []store.Material{m}); err != nil {
				return err
			}
			continue
		case m.Import == types.ImportStateImported:
			if err := s.destroyUnshared(ctx, tx, m); err != nil {
				return err
			}
			if !isExpired(&m, s.config.Now()) {
				m.Expires = time.Time{}
			}
			m.Import = types.ImportStatePendingImport
		}
		kept = append(kept, m)
	}
	key.Materials = kept
	settle(key)
	return nil
}

// settle gives a key with imported material the state that its materials ask for: it
// is usable only while the token has all that the key has used. A key that waits for
// deletion stays so.
func settle(key *store.Key) {
	if key.Origin != types.OriginTypeExternal || stateColumn(key.State) == deletionColumn {
		return
	}
	missing := key.Current() == nil || slices.ContainsFunc(key.Materials, func(m store.Material) bool {
		return m.Import == types.ImportStatePendingImport && !isPending(&m)
	})
	switch {
	case missing:
		key.State = types.KeyStatePendingImport
	case key.State == types.KeyStatePendingImport:
		key.State = types.KeyStateEnabled
	}
}

// materialExpired tells whether imported material of the key is past its time.
func materialExpired(key *store.Key, now time.Time) bool {
	return slices.ContainsFunc(key.Materials, func(m store.Material) bool { return isExpired(&m, now) })
}

func isExpired(m *store.Material, now time.Time) bool {
	return m.Import == types.ImportStateImported && !m.Expires.IsZero() && !now.Before(m.Expires)
}

// withoutExpired is a key as it is once its expired material is taken away.
func withoutExpired(k *keySnapshot, now time.Time) *keySnapshot {
	key := k.Key
	key.Materials = slices.Clone(key.Materials)
	for i := range key.Materials {
		if m := &key.Materials[i]; isExpired(m, now) {
			m.Import = types.ImportStatePendingImport
		}
	}
	settle(&key)
	then := newSnapshot(key, 0)
	then.use = k.use
	return then
}

// expire takes material away whose time is over. Only one process does it, as the
// store's updates exclude each other.
func (s *Service) expire(ctx context.Context, ref store.KeyRef) error {
	ctx, cancel := s.detached(ctx)
	defer cancel()
	return s.update(ctx, ref, func(tx store.Tx, key *store.Key) error {
		now := s.config.Now()
		if !materialExpired(key, now) {
			return nil
		}
		if err := s.takeAway(ctx, tx, key, func(m *store.Material) bool { return isExpired(m, now) }); err != nil {
			return err
		}
		return s.serviceEvent(ctx, "DeleteExpiredKeyMaterial", newSnapshot(*key, 0), audit.Params{})
	})
}

// sweepImports destroys wrapping keys whose import tokens have expired.
func (s *Service) sweepImports(ctx context.Context) error {
	var expired []store.Import
	err := s.config.Store.View(ctx, func(tx store.Tx) (err error) {
		expired, err = tx.ExpiredImports(ctx, s.config.Now())
		return err
	})
	for _, i := range expired {
		err = errors.Join(err, s.dropImport(ctx, i))
	}
	return err
}
