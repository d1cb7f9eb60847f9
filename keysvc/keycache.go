package keysvc

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"
)

// maxCached bounds the cached keys and aliases; beyond it the cache starts anew.
const maxCached = 8192

// maxAge is how long what was read is trusted without asking the store again,
// even if its generation hasn't changed: the bound on what a generation word
// that was lost or restored from a backup can do.
const maxAge = time.Second

// keySnapshot is a key as the store had it at one generation. It isn't changed
// after it was made, but for the grants, which are read when first needed.
type keySnapshot struct {
	store.Key
	arn         string
	materialIDs []string // of Materials, in their order
	read        reading
	use         *lastUse // what all snapshots of the key in this process share; nil if it isn't cached
	grants      atomic.Pointer[[]store.Grant]
}

func newSnapshot(key store.Key, generation uint64) *keySnapshot {
	k := &keySnapshot{
		Key: key, arn: keyARN(key.Scope, key.ID), read: reading{generation, time.Now()},
		materialIDs: make([]string, len(key.Materials)),
	}
	for i := range key.Materials {
		k.materialIDs[i] = materialID(key.ID, key.Materials[i].Backing)
	}
	return k
}

// reading is when something was read from the store.
type reading struct {
	generation uint64
	at         time.Time
}

// fresh tells whether what was read is still what the store has.
func (s *Service) fresh(r reading) bool {
	return r.generation == s.config.Store.Generation() && time.Since(r.at) < maxAge
}

// material returns the material in use.
func (k *keySnapshot) material() (*store.Material, error) {
	if current := k.Current(); current != nil {
		return current, nil
	}
	return nil, refuse(KindInvalidState, "%s is unavailable.", k.arn)
}

// owns tells whether a backing key is one of the key's materials.
func (k *keySnapshot) owns(backing store.BackingID) bool {
	return slices.ContainsFunc(k.Materials, func(m store.Material) bool { return m.Backing == backing })
}

type materialRef struct {
	store.Scope
	backing store.BackingID
}

type aliasRef struct {
	store.Scope
	name string
}

type aliasTarget struct {
	keyID string
	read  reading
}

// keyCache holds snapshots. It doesn't know whether they are fresh: its user
// compares generations. It makes the token forget keys whose state has changed.
type keyCache struct {
	token hsm.Token

	mu         sync.RWMutex // guards the maps; no other lock is taken under it
	keys       map[store.KeyRef]*keySnapshot
	byMaterial map[materialRef]*keySnapshot
	aliases    map[aliasRef]aliasTarget
}

func newKeyCache(token hsm.Token) *keyCache {
	c := &keyCache{token: token}
	c.reset()
	return c
}

func (c *keyCache) reset() {
	c.keys = make(map[store.KeyRef]*keySnapshot)
	c.byMaterial = make(map[materialRef]*keySnapshot)
	c.aliases = make(map[aliasRef]aliasTarget)
}

// key returns the snapshot of a key, fresh or not, or nil.
func (c *keyCache) key(ref store.KeyRef) *keySnapshot {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.keys[ref]
}

// ofMaterial returns the snapshot of the key that a backing key belongs to.
func (c *keyCache) ofMaterial(ref materialRef) *keySnapshot {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byMaterial[ref]
}

func (c *keyCache) alias(ref aliasRef) (aliasTarget, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	target, ok := c.aliases[ref]
	return target, ok
}

func (c *keyCache) putAlias(ref aliasRef, target aliasTarget) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.aliases) >= maxCached {
		clear(c.aliases)
	}
	c.aliases[ref] = target
}

// put stores a snapshot unless a newer one is there already.
func (c *keyCache) put(k *keySnapshot) {
	for _, m := range c.replace(k) {
		c.token.Forget(hsm.KeyID(m.Backing))
	}
}

// replace returns the materials that the token must forget.
func (c *keyCache) replace(k *keySnapshot) []store.Material {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.keys[k.Ref()]
	if k.use = (&lastUse{key: k.Ref()}); old != nil {
		k.use = old.use
	}
	if old != nil && old.read.generation > k.read.generation {
		return nil
	}
	if old == nil && len(c.keys) >= maxCached {
		clear(c.keys)
		clear(c.byMaterial)
	}
	c.keys[k.Ref()] = k
	for _, m := range k.Materials {
		c.byMaterial[materialRef{k.Scope, m.Backing}] = k
	}
	if old == nil || old.EffectiveState() == k.EffectiveState() {
		return nil
	}
	return old.Materials
}

// remove drops a key that is no longer in the store.
func (c *keyCache) remove(ref store.KeyRef) {
	c.mu.Lock()
	old := c.keys[ref]
	delete(c.keys, ref)
	if old != nil {
		for _, m := range old.Materials {
			delete(c.byMaterial, materialRef{ref.Scope, m.Backing})
		}
	}
	c.mu.Unlock()
	if old != nil {
		c.forget(old)
	}
}

func (c *keyCache) forget(k *keySnapshot) {
	for _, m := range k.Materials {
		c.token.Forget(hsm.KeyID(m.Backing))
	}
}

// refs names the cached keys.
func (c *keyCache) refs() []store.KeyRef {
	c.mu.RLock()
	defer c.mu.RUnlock()
	refs := make([]store.KeyRef, 0, len(c.keys))
	for ref := range c.keys {
		refs = append(refs, ref)
	}
	return refs
}

func (c *keyCache) clear() {
	c.mu.Lock()
	old := c.keys
	c.reset()
	c.mu.Unlock()
	for _, k := range old {
		c.forget(k)
	}
}
