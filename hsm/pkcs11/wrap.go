package pkcs11

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/kmsfs/kmsfs/hsm"
)

// Wrap implements hsm.Token.
func (t *token) Wrap(ctx context.Context, id hsm.KeyID, plaintext, aad []byte) ([]byte, error) {
	if err := checkLengths("Wrap", plaintext, aad); err != nil {
		return nil, err
	}
	if out, ok := t.wrapFast(ctx, id, plaintext, aad); ok {
		return out, nil
	}
	if err := t.enter(ctx, "Wrap"); err != nil {
		return nil, err
	}
	plaintext, wipe := private(ctx, plaintext)
	aad, _ = private(ctx, aad)
	var out []byte
	job := func(ctx context.Context) error {
		defer wipe()
		return t.attempt(ctx, "Wrap", func(ctx context.Context, c *connection) (err error) {
			out, err = t.wrap(ctx, c, id, plaintext, aad)
			return err
		})
	}
	if err := t.run(ctx, "Wrap", job, nothing); err != nil {
		return nil, err
	}
	return out, nil
}

func checkLengths(op string, plaintext, aad []byte) error {
	switch {
	case len(plaintext) == 0 || len(plaintext) > hsm.MaxPlaintext:
		return &hsm.Error{Op: op, Kind: hsm.KindInvalidArgument,
			Err: fmt.Errorf("plaintext has %d bytes, want 1 to %d", len(plaintext), hsm.MaxPlaintext)}
	case len(aad) == 0 || len(aad) > hsm.MaxAAD:
		return &hsm.Error{Op: op, Kind: hsm.KindInvalidArgument,
			Err: fmt.Errorf("additional authenticated data has %d bytes, want 1 to %d", len(aad), hsm.MaxAAD)}
	}
	return nil
}

// wrap makes one attempt at wrapping.
func (t *token) wrap(ctx context.Context, c *connection, id hsm.KeyID, plaintext, aad []byte) ([]byte, error) {
	sub, err := t.writer(ctx, c, id)
	if err != nil {
		return nil, err
	}
	defer t.done(c, sub)
	if sub.id.alg == algDirect {
		if err := t.direct.take(id); err != nil {
			return nil, err
		}
	}
	out, b := newBlob(sub.id.alg, sub.id.salt, len(plaintext))
	_, _ = rand.Read(b.iv) // never fails, see crypto/rand
	err = c.withSession(ctx, func(s session) error {
		return sealInto(c.api, s, sub.handle, b, plaintext, aad)
	})
	c.forgetStale(id, err)
	return out, err
}

// sealInto fills a blob's sealed part, and its IV if the module makes its own.
func sealInto(api cryptoki, s session, key object, b blob, plaintext, aad []byte) error {
	n, err := api.encrypt(s, key, b.iv, aad, plaintext, b.sealed)
	if err == nil && n != len(b.sealed) {
		err = fmt.Errorf("the module made %d bytes of %d", n, len(b.sealed))
	}
	return err
}

// Unwrap implements hsm.Token.
func (t *token) Unwrap(ctx context.Context, id hsm.KeyID, sealed, aad []byte) ([]byte, error) {
	if len(aad) == 0 || len(aad) > hsm.MaxAAD {
		return nil, checkLengths("Unwrap", []byte{0}, aad)
	}
	b, err := parseBlob(sealed)
	if err != nil {
		return nil, &hsm.Error{Op: "Unwrap", Kind: hsm.KindInvalidCiphertext, Err: err}
	}
	if out, ok := t.unwrapFast(ctx, id, b, aad); ok {
		return out, nil
	}
	if err := t.enter(ctx, "Unwrap"); err != nil {
		return nil, err
	}
	sealed, _ = private(ctx, sealed)
	aad, _ = private(ctx, aad)
	var out []byte
	job := func(ctx context.Context) error {
		return t.attempt(ctx, "Unwrap", func(ctx context.Context, c *connection) (err error) {
			out, err = t.unwrap(ctx, c, id, sealed, aad)
			return err
		})
	}
	if err := t.run(ctx, "Unwrap", job, func() { clear(out) }); err != nil {
		return nil, err
	}
	return out, nil
}

// unwrap makes one attempt at unwrapping a blob that parses.
func (t *token) unwrap(ctx context.Context, c *connection, id hsm.KeyID, sealed, aad []byte) ([]byte, error) {
	b, err := parseBlob(sealed)
	if err != nil {
		return nil, err
	}
	sub, err := t.reader(ctx, c, subID{key: id, alg: b.alg, salt: b.salt})
	if err != nil {
		return nil, err
	}
	defer t.done(c, sub)
	out := make([]byte, len(b.sealed))
	n := 0
	err = c.withSession(ctx, func(s session) (err error) {
		n, err = c.api.decrypt(s, sub.handle, b.iv, aad, b.sealed, out)
		if classify(err) != classAmbiguous {
			return err
		}
		if err := sub.canary.judge(c.api, s, sub.handle, t.now()); err != nil {
			return err
		}
		n, err = c.api.decrypt(s, sub.handle, b.iv, aad, b.sealed, out) // it may have been a passing fault
		return err
	})
	if err == nil && n != len(b.sealed)-tagSize {
		err = fmt.Errorf("the module made %d bytes of %d", n, len(b.sealed)-tagSize)
	}
	if err != nil {
		clear(out)
		c.forgetStale(id, err)
		return nil, err
	}
	clear(out[n:])
	return out[:n:n], nil
}

// forgetStale drops the handles of a key after a failure that another handle may
// not have. Modules report a key that is destroyed meanwhile as a key that isn't
// allowed to do what is asked.
func (c *connection) forgetStale(id hsm.KeyID, err error) {
	if cl := classify(err); cl == classStale || cl == classPolicy {
		c.keys.forget(id)
	}
}
