package keysvc

import (
	"context"
	"errors"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// lookup returns a key as it is now: from the cache if nothing in the store has
// changed since it was read. It gives store.ErrNotFound for a key that doesn't
// exist or whose deletion is due.
func (s *Service) lookup(ctx context.Context, ref store.KeyRef) (*keySnapshot, error) {
	k := s.cache.key(ref)
	if k == nil || !s.fresh(k.read) {
		var err error
		if k, err = s.load(ctx, ref); err != nil {
			return nil, err
		}
	}
	return s.alive(ctx, k)
}

func (s *Service) load(ctx context.Context, ref store.KeyRef) (*keySnapshot, error) {
	var k *keySnapshot
	err := s.config.Store.View(ctx, func(tx store.Tx) error {
		key, err := tx.Key(ctx, ref.Scope, ref.ID)
		k = newSnapshot(key, tx.Generation())
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		s.cache.remove(ref)
		return nil, err
	}
	if err != nil {
		return nil, internal(err)
	}
	s.cache.put(k)
	return k, nil
}

// alive deletes a key whose waiting period is over, and takes imported material away
// whose time is.
func (s *Service) alive(ctx context.Context, k *keySnapshot) (*keySnapshot, error) {
	now := s.config.Now()
	if materialExpired(&k.Key, now) {
		if err := s.expire(ctx, k.Ref()); err != nil {
			s.config.Logger.Error("key material that has expired can't be destroyed yet", "key", k.arn, "error", err)
			return withoutExpired(k, now), nil
		}
		return s.load(ctx, k.Ref())
	}
	if !deletionDue(&k.Key, now) {
		return k, nil
	}
	if err := s.destroy(ctx, k.Ref()); err != nil {
		s.config.Logger.Error("a key whose deletion is due can't be destroyed yet", "key", k.arn, "error", err)
	}
	return nil, store.ErrNotFound
}

// lookupMaterial returns the key that a backing key belongs to.
func (s *Service) lookupMaterial(ctx context.Context, scope store.Scope, backing store.BackingID) (*keySnapshot, error) {
	k := s.cache.ofMaterial(materialRef{scope, backing})
	if k != nil {
		if s.fresh(k.read) {
			return s.alive(ctx, k)
		}
		return s.lookup(ctx, k.Ref()) // a material never moves to another key
	}
	err := s.config.Store.View(ctx, func(tx store.Tx) error {
		key, err := tx.KeyOfMaterial(ctx, scope, backing)
		k = newSnapshot(key, tx.Generation())
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if err != nil {
		return nil, internal(err)
	}
	s.cache.put(k)
	return s.alive(ctx, k)
}

// lookupAlias returns the id of the key that an alias points to.
func (s *Service) lookupAlias(ctx context.Context, scope store.Scope, name string) (string, error) {
	ref := aliasRef{scope, name}
	if target, ok := s.cache.alias(ref); ok && s.fresh(target.read) {
		return target.keyID, nil
	}
	var target aliasTarget
	err := s.config.Store.View(ctx, func(tx store.Tx) error {
		alias, err := tx.Alias(ctx, scope, name)
		target = aliasTarget{keyID: alias.KeyID, read: reading{tx.Generation(), time.Now()}}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return "", aliasNotFound(scope, name)
	}
	if err != nil {
		return "", internal(err)
	}
	s.cache.putAlias(ref, target)
	return target.keyID, nil
}

// find resolves a KeyId member to a key, without asking whether the caller may
// use it. In operations that accept aliases, the first use of a managed alias
// makes its key.
func (c *call) find(keyID string) (*keySnapshot, error) {
	name, err := parseKeyName(c.scope, keyID)
	if err != nil {
		return nil, err
	}
	if name.alias == "" {
		return c.findID(name.id)
	}
	if !c.op.aliases {
		return nil, refuse(KindNotFound, "Invalid keyId '%s'", keyID)
	}
	id, err := c.s.lookupAlias(c.ctx, c.scope, name.alias)
	if err != nil {
		if id, err = c.managedKey(name.alias, err); err != nil {
			return nil, err
		}
	}
	return c.findID(id)
}

func (c *call) findID(id string) (*keySnapshot, error) {
	k, err := c.s.lookup(c.ctx, store.KeyRef{Scope: c.scope, ID: id})
	if errors.Is(err, store.ErrNotFound) {
		return nil, keyNotFound(c.scope, id)
	}
	return k, err
}

// use resolves a KeyId member, authorises the call and checks the key's state.
func (c *call) use(keyID string, a access) (*keySnapshot, error) {
	k, err := c.find(keyID)
	if err != nil {
		return nil, err
	}
	return k, c.admit(k, a)
}

// admit records the key as touched, authorises the call and checks the key's
// state, in this order.
func (c *call) admit(k *keySnapshot, a access) error {
	c.touch(k)
	if err := c.authorize(k, a); err != nil {
		return err
	}
	return c.op.checkState(k)
}

// change is use followed by a transaction on the key: fn gets the key as it is
// then, after its state was checked again, and what it leaves is stored.
func (c *call) change(keyID string, fn func(tx store.Tx, key *store.Key) error) (*keySnapshot, error) {
	k, err := c.use(keyID, access{})
	if err != nil {
		return nil, err
	}
	return k, c.s.update(c.ctx, k.Ref(), func(tx store.Tx, key *store.Key) error {
		if err := c.op.checkState(newSnapshot(*key, 0)); err != nil {
			return err
		}
		return fn(tx, key)
	})
}

// update changes a key in a transaction. When it returns, this Service's cache
// is as fresh as everybody else's.
func (s *Service) update(ctx context.Context, ref store.KeyRef, fn func(tx store.Tx, key *store.Key) error) error {
	var before types.KeyState
	var after store.Key
	err := s.config.Store.Update(ctx, func(tx store.Tx) error {
		key, err := tx.Key(ctx, ref.Scope, ref.ID)
		if err != nil {
			return err
		}
		before = key.State
		if err := fn(tx, &key); err != nil {
			return err
		}
		after = key
		if err := tx.PutKey(ctx, key); err != nil {
			return err
		}
		return s.keepInStep(ctx, tx, &key)
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return keyNotFound(ref.Scope, ref.ID)
	case err != nil:
		return err
	case before != after.State:
		s.cache.forget(newSnapshot(after, 0))
	}
	return nil
}
