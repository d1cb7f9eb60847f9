package pkcs11

import (
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"
)

// Limits of one sub-key as a wrapping key. With 2^24 random 96-bit IVs the
// chance that two are equal is below 2^-49 (NIST SP 800-38D section 8.3 allows
// 2^-32).
const (
	epochWraps = 1 << 24
	epochAge   = time.Hour
)

// cachedSubKeys bounds the session objects that are kept, per connection.
const cachedSubKeys = 1024

// subID names a sub-key. A direct key has a zero salt.
type subID struct {
	key  hsm.KeyID
	alg  algorithm
	salt [saltSize]byte
}

// subKey is a handle that wraps and unwraps. It is shared; the keyring counts its
// users, and the object is destroyed after the last one.
type subKey struct {
	id     subID
	handle object
	owned  bool   // a session object of ours, to be destroyed
	canary canary // has its own lock
	// purposes are those of a private key or an HMAC key.
	purposes []hsm.Purpose

	refs    int           // guarded by keyring.mu; the cache and the epoch count as users
	element *list.Element // guarded by keyring.mu; nil when not cached
	unused  chan struct{} // closed when refs falls to zero
}

// allows tells whether the key is for something. Modules are not believed to enforce
// it: NSS doesn't.
func (s *subKey) allows(p hsm.Purpose) bool { return slices.Contains(s.purposes, p) }

// baseKey is the handle of a token object and what it may be used for.
type baseKey struct {
	handle  object
	derives bool
	direct  bool
}

// epoch is the time during which one sub-key wraps.
type epoch struct {
	sub     *subKey
	started time.Time
	wraps   int
}

// keyring caches the handles of one connection. It dies with it, so a handle is
// never used in another generation of the module.
type keyring struct {
	capacity int
	now      func() time.Time

	mu      sync.Mutex // guards what follows; leaf lock
	base    map[hsm.KeyID]baseKey
	public  map[hsm.KeyID]*publickey.Key
	epochs  map[hsm.KeyID]*epoch
	subs    map[subID]*subKey
	recent  *list.List // of *subKey, most recently used first
	forgets uint64     // calls of forget so far
	garbage []object   // session objects without users
}

func newKeyring(capacity int, now func() time.Time) *keyring {
	return &keyring{
		capacity: capacity, now: now, recent: list.New(),
		base: map[hsm.KeyID]baseKey{}, public: map[hsm.KeyID]*publickey.Key{}, epochs: map[hsm.KeyID]*epoch{}, subs: map[subID]*subKey{},
	}
}

// get returns a cached sub-key, which the caller must release.
func (k *keyring) get(id subID) (*subKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.subs[id]
	if ok {
		s.refs++
		k.recent.MoveToFront(s.element)
	}
	return s, ok
}

// writer returns the sub-key that wraps for id in the current epoch, counting one
// wrap. The caller must release it.
func (k *keyring) writer(id hsm.KeyID) (*subKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.epochs[id]
	if e == nil {
		return nil, false
	}
	if e.wraps >= epochWraps || k.now().Sub(e.started) >= epochAge {
		delete(k.epochs, id)
		k.unref(e.sub)
		return nil, false
	}
	e.wraps++
	e.sub.refs++
	return e.sub, true
}

// mark returns a moment to hand to add: a sub-key made from a handle that was
// forgotten since is not cached.
func (k *keyring) mark() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.forgets
}

// add takes a new sub-key in and returns it with one reference for the caller.
// With writes it begins an epoch, counting one wrap.
func (k *keyring) add(id subID, handle object, owned, writes bool, mark uint64) *subKey {
	return k.insert(&subKey{id: id, handle: handle, owned: owned}, writes, mark)
}

// addHolder takes the handle of a private key or an HMAC key in.
func (k *keyring) addHolder(id subID, handle object, purposes []hsm.Purpose, mark uint64) *subKey {
	return k.insert(&subKey{id: id, handle: handle, purposes: purposes}, false, mark)
}

func (k *keyring) insert(s *subKey, writes bool, mark uint64) *subKey {
	s.refs, s.unused = 1, make(chan struct{})
	k.mu.Lock()
	defer k.mu.Unlock()
	if mark != k.forgets {
		return s
	}
	s.refs++
	s.element = k.recent.PushFront(s)
	k.subs[s.id] = s
	if writes {
		s.refs++
		k.epochs[s.id.key] = &epoch{sub: s, started: k.now(), wraps: 1}
	}
	if k.recent.Len() > k.capacity {
		k.evict(k.recent.Back().Value.(*subKey))
	}
	return s
}

// evict drops s from the cache. The lock is held.
func (k *keyring) evict(s *subKey) {
	k.recent.Remove(s.element)
	delete(k.subs, s.id)
	k.unref(s)
}

// unref counts one user less. The lock is held.
func (k *keyring) unref(s *subKey) {
	s.refs--
	if s.refs > 0 {
		return
	}
	close(s.unused)
	if s.owned {
		k.garbage = append(k.garbage, s.handle)
	}
}

// release ends a use of s and reports whether there is garbage to collect.
func (k *keyring) release(s *subKey) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unref(s)
	return len(k.garbage) > 0
}

// takeGarbage hands over the session objects to destroy.
func (k *keyring) takeGarbage() []object {
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.garbage
	k.garbage = nil
	return g
}

// forget drops everything cached of id and returns the sub-keys that it dropped,
// some of which may still be in use.
func (k *keyring) forget(id hsm.KeyID) []*subKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forgets++
	delete(k.base, id)
	delete(k.public, id)
	var dropped []*subKey
	if e := k.epochs[id]; e != nil {
		delete(k.epochs, id)
		dropped = append(dropped, e.sub)
		k.unref(e.sub)
	}
	for sid, s := range k.subs {
		if sid.key == id {
			dropped = append(dropped, s)
			k.evict(s)
		}
	}
	return dropped
}

func (k *keyring) baseKey(id hsm.KeyID) (baseKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b, ok := k.base[id]
	return b, ok
}

func (k *keyring) setBaseKey(id hsm.KeyID, b baseKey, mark uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if mark == k.forgets {
		k.base[id] = b
	}
}

func (k *keyring) hasGarbage() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.garbage) > 0
}
