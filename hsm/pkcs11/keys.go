package pkcs11

import (
	"context"
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// keyShape is the template of backing keys that this token accepts, as the probe
// found it.
type keyShape struct {
	derives  bool // derive-only; else encrypt and decrypt
	locked   bool // attributes fixed, no copies; only if it derives
	restrict bool // only the mechanisms that are used here
}

// ladder lists the shapes from this one down to the least strict.
func (k keyShape) ladder() []keyShape {
	steps := []keyShape{k}
	for _, weaker := range []keyShape{{restrict: true}, {locked: true}, {}} {
		weaker.derives = k.derives
		fits := (k.locked || !weaker.locked) && (k.restrict || !weaker.restrict)
		if fits && weaker != k {
			steps = append(steps, weaker)
		}
	}
	return steps
}

// attributes returns the template of a key of this shape; onToken makes it a
// token object.
func (k keyShape) attributes(onToken bool) []*p11.Attribute {
	a := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY),
		p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_AES),
		p11.NewAttribute(p11.CKA_VALUE_LEN, 32),
		p11.NewAttribute(p11.CKA_TOKEN, onToken),
		p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true),
		p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
		p11.NewAttribute(p11.CKA_DERIVE, k.derives),
		p11.NewAttribute(p11.CKA_ENCRYPT, !k.derives),
		p11.NewAttribute(p11.CKA_DECRYPT, !k.derives),
		p11.NewAttribute(p11.CKA_WRAP, false),
		p11.NewAttribute(p11.CKA_UNWRAP, false),
		p11.NewAttribute(p11.CKA_SIGN, false),
		p11.NewAttribute(p11.CKA_VERIFY, false),
	}
	if k.locked && k.derives { // direct use copies the key to a session object
		a = append(a, p11.NewAttribute(p11.CKA_MODIFIABLE, false), p11.NewAttribute(p11.CKA_COPYABLE, false))
	}
	if k.restrict {
		a = append(a, p11.NewAttribute(p11.CKA_ALLOWED_MECHANISMS, k.mechanisms()))
	}
	return a
}

// mechanisms lists both derivations, so that keys survive a module's upgrade. It
// keeps out mechanisms that would derive part of the key itself.
func (k keyShape) mechanisms() []byte {
	list := []uint64{p11.CKM_AES_GCM}
	if k.derives {
		list = []uint64{p11.CKM_AES_ECB_ENCRYPT_DATA, ckmSP800108Counter}
	}
	return mechanismList(list...)
}

// ckmSP800108Counter is CKM_SP800_108_COUNTER_KDF of PKCS#11 3.0.
const ckmSP800108Counter = 0x3ac

// GenerateKey implements hsm.Token.
func (t *token) GenerateKey(ctx context.Context, id hsm.KeyID, label string) error {
	const op = "GenerateKey"
	if err := t.enter(ctx, op); err != nil {
		return err
	}
	sent := false // an attempt whose answer was lost may have made the key
	job := func(ctx context.Context) error {
		return t.attempt(ctx, op, func(ctx context.Context, c *connection) error {
			return c.withSession(ctx, func(s session) error {
				found, err := c.findAll(ctx, s, id)
				if err != nil || (len(found) > 0 && sent) {
					return err
				}
				if len(found) > 0 {
					return &hsm.Error{Kind: hsm.KindKeyExists, Err: fmt.Errorf("the token has a backing key %s", id)}
				}
				sent = true
				return t.generate(c.api, s, id, label)
			})
		})
	}
	return t.run(ctx, op, job, nothing)
}

// generate makes the key in the strictest shape that the token accepts, and
// remembers that shape. NSS, for one, knows attributes for session objects that its
// database can't store, and calls the attempt a general error.
func (t *token) generate(api cryptoki, s session, id hsm.KeyID, label string) error {
	var first error
	for _, shape := range t.shape.Load().ladder() {
		_, err := api.generate(s, p11.CKM_AES_KEY_GEN, append(shape.attributes(true),
			p11.NewAttribute(p11.CKA_ID, id[:]),
			p11.NewAttribute(p11.CKA_LABEL, label)))
		if err == nil {
			t.shape.Store(&shape)
			return nil
		}
		if first == nil {
			first = err
		}
		if classify(err) != classOther && !isCall(err, p11.CKR_GENERAL_ERROR) {
			return err
		}
	}
	return first
}

// HasKey implements hsm.Token.
func (t *token) HasKey(ctx context.Context, id hsm.KeyID) (bool, error) {
	const op = "HasKey"
	if err := t.enter(ctx, op); err != nil {
		return false, err
	}
	found := false
	job := func(ctx context.Context) error {
		return t.attempt(ctx, op, func(ctx context.Context, c *connection) error {
			return c.withSession(ctx, func(s session) error {
				all, err := c.findAll(ctx, s, id)
				found = len(all) > 0
				return err
			})
		})
	}
	if err := t.run(ctx, op, job, nothing); err != nil {
		return false, err
	}
	return found, nil
}

// DestroyKey implements hsm.Token.
func (t *token) DestroyKey(ctx context.Context, id hsm.KeyID) error {
	const op = "DestroyKey"
	if err := t.enter(ctx, op); err != nil {
		return err
	}
	sent := false // an attempt whose answer was lost may have destroyed the key
	job := func(ctx context.Context) error {
		return t.attempt(ctx, op, func(ctx context.Context, c *connection) error {
			defer t.Forget(id)
			return c.withAnchor(ctx, func(s session) error { return c.destroyKey(ctx, s, id, &sent) })
		})
	}
	return t.run(ctx, op, job, nothing)
}

// destroyKey destroys a key that nobody uses: holding the anchor keeps new users
// out, and those that have a handle already are waited for. Modules give
// misleading errors to users of a key that is being destroyed.
func (c *connection) destroyKey(ctx context.Context, s session, id hsm.KeyID, sent *bool) error {
	for _, sub := range c.keys.forget(id) {
		select {
		case <-sub.unused:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	found, err := c.findAll(ctx, s, id)
	switch {
	case err != nil:
		return err
	case len(found) == 0 && *sent:
		return nil
	case len(found) == 0:
		return keyNotFound(id)
	}
	*sent = true
	for _, o := range found {
		err = errors.Join(err, c.api.destroy(s, o))
	}
	return err
}
