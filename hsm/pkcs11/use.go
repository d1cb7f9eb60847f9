package pkcs11

import (
	"context"

	"github.com/kmsfs/kmsfs/hsm"
)

// keyUse is an operation with the handle of a private key or an HMAC key.
type keyUse struct {
	op      string
	id      hsm.KeyID
	which   algorithm
	purpose hsm.Purpose
	wipe    func() // wipes the input after the last attempt
	discard func() // wipes the result when the caller has gone
}

// useKey runs f, perhaps more than once, with the key's handle.
func (t *token) useKey(ctx context.Context, u keyUse, f func(c *connection, s session, key object) error) error {
	if t.useKeyFast(ctx, u, f) {
		u.wipe()
		return nil
	}
	op, id, which := u.op, u.id, u.which
	if err := t.enter(ctx, op); err != nil {
		return err
	}
	job := func(ctx context.Context) error {
		defer u.wipe()
		return t.attempt(ctx, op, func(ctx context.Context, c *connection) error {
			sub, err := t.holder(ctx, c, id, which)
			if err != nil {
				return err
			}
			defer t.done(c, sub)
			if !sub.allows(u.purpose) {
				return badArgument("the backing key %s is not for that", id)
			}
			err = c.withSession(ctx, func(s session) error { return f(c, s, sub.handle) })
			c.forgetStale(id, err)
			return err
		})
	}
	return lacks(t.run(ctx, op, job, u.discard))
}
