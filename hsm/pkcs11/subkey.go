package pkcs11

import (
	"context"
	"fmt"
	"slices"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// reader returns the sub-key that a blob names. The caller must call done.
func (t *token) reader(ctx context.Context, c *connection, id subID) (*subKey, error) {
	if sub, ok := c.keys.get(id); ok {
		return sub, nil
	}
	var sub *subKey
	err := c.withAnchor(ctx, func(s session) error {
		var ok bool
		if sub, ok = c.keys.get(id); ok {
			return nil // made while we waited for the anchor
		}
		base, err := c.resolve(ctx, s, id.key)
		if err != nil {
			return err
		}
		if err := base.allows(id.alg, t.caps); err != nil {
			return err
		}
		sub, err = t.makeSubKey(c, s, base, id, false)
		return err
	})
	return sub, err
}

// writer returns the sub-key for new blobs, beginning an epoch if there is none.
// The caller must call done.
func (t *token) writer(ctx context.Context, c *connection, id hsm.KeyID) (*subKey, error) {
	if sub, ok := c.keys.writer(id); ok {
		return sub, nil
	}
	var sub *subKey
	err := c.withAnchor(ctx, func(s session) error {
		var ok bool
		if sub, ok = c.keys.writer(id); ok {
			return nil
		}
		base, err := c.resolve(ctx, s, id)
		if err != nil {
			return err
		}
		sid := subID{key: id, alg: t.writeAlgorithm(base)}
		if sid.alg != algDirect {
			sid.salt = newSalt(sid.alg)
		}
		sub, err = t.makeSubKey(c, s, base, sid, true)
		return err
	})
	return sub, err
}

// writeAlgorithm is the algorithm of new blobs under a key: as the key was made,
// which may have been before the module could derive.
func (t *token) writeAlgorithm(base baseKey) algorithm {
	if base.derives {
		return algorithmOf(t.caps.Derivation())
	}
	return algDirect
}

// allows tells a blob that this key can have made from one whose algorithm byte was
// changed.
func (b baseKey) allows(alg algorithm, caps hsm.Capabilities) error {
	if alg == algDirect && b.direct {
		return nil
	}
	if b.derives && slices.Contains(caps.Derivations, alg.derivation()) {
		return nil
	}
	return &hsm.Error{Kind: hsm.KindInvalidCiphertext,
		Err: fmt.Errorf("the blob's algorithm %d is not one of this backing key in this token", alg)}
}

// makeSubKey derives a sub-key, or copies the backing key for direct use, as a
// session object of the anchor s.
func (t *token) makeSubKey(c *connection, s session, base baseKey, id subID, writes bool) (*subKey, error) {
	mark := c.keys.mark()
	handle, owned, err := t.makeHandle(c.api, s, base.handle, id)
	if err != nil {
		c.forgetStale(id.key, err)
		return nil, err
	}
	return c.keys.add(id, handle, owned, writes, mark), nil
}

func (t *token) makeHandle(api cryptoki, s session, base object, id subID) (h object, owned bool, err error) {
	switch {
	case id.alg != algDirect:
		h, err = api.derive(s, base, id.alg.derivation(), id.salt)
		return h, true, err
	case t.caps.SessionCopies:
		h, err = api.copyObject(s, base, sessionCopy)
		if classify(err) != classOther || err == nil {
			return h, true, err
		}
		// A key of another origin may not be copyable; it still serves, slower.
	}
	return base, false, nil
}

// sessionCopy is the template of a copy that lives in memory only.
var sessionCopy = []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, false)}

// done ends the use of a sub-key.
func (t *token) done(c *connection, sub *subKey) {
	if c.keys.release(sub) {
		t.collect(c)
	}
}

// Forget implements hsm.Token.
func (t *token) Forget(id hsm.KeyID) {
	if c := t.conn.Load(); c != nil {
		c.keys.forget(id)
		t.collect(c)
	}
}

// collect destroys unused session objects in the background, one goroutine at a
// time.
func (t *token) collect(c *connection) {
	if t.collecting.Swap(true) {
		return
	}
	if !t.life.tryEnter() { // closing: the objects end with the anchor session
		t.collecting.Store(false)
		return
	}
	go func() {
		defer t.life.leave()
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		t.destroyGarbage(ctx, c)
	}()
}

// destroyGarbage works until there is no more garbage, also of what arrives while
// it ends.
func (t *token) destroyGarbage(ctx context.Context, c *connection) {
	for more := true; more; {
		t.sweep(ctx, c)
		t.collecting.Store(false)
		more = c.keys.hasGarbage() && !c.broken.Load() && ctx.Err() == nil && !t.collecting.Swap(true)
	}
}

// sweep destroys what is garbage now. Handles of another generation are left
// alone: their numbers may have been given out again.
func (t *token) sweep(ctx context.Context, c *connection) {
	if t.mod.gate.enter(ctx) != nil {
		return
	}
	defer t.mod.gate.leave()
	if !t.usable(c) {
		c.keys.takeGarbage()
		return
	}
	_ = c.withAnchor(ctx, func(s session) error {
		for _, o := range c.keys.takeGarbage() {
			_ = c.api.destroy(s, o) // gone with its session, if it fails
		}
		return nil
	})
}
