package pkcs11

import (
	"context"
	"encoding/binary"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// findAll returns every object of the id: a secret key, or the two halves of a pair.
func (c *connection) findAll(ctx context.Context, s session, id hsm.KeyID) ([]object, error) {
	found, err := c.api.find(s, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_TOKEN, true),
		p11.NewAttribute(p11.CKA_ID, id[:]),
	})
	if err == nil && len(found) == 0 {
		err = c.confirmAbsence(ctx, s)
	}
	return found, err
}

// findClass returns the object of the id that has a class, and of its type, if
// that is given.
func (c *connection) findClass(ctx context.Context, s session, id hsm.KeyID, class uint, keyType ...uint) (object, error) {
	template := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, class),
		p11.NewAttribute(p11.CKA_TOKEN, true),
		p11.NewAttribute(p11.CKA_ID, id[:]),
	}
	for _, k := range keyType {
		template = append(template, p11.NewAttribute(p11.CKA_KEY_TYPE, k))
	}
	found, err := c.api.find(s, template)
	switch {
	case err != nil:
		return 0, err
	case len(found) == 0:
		if err := c.confirmAbsence(ctx, s); err != nil {
			return 0, err
		}
		return 0, keyNotFound(id)
	case len(found) > 1:
		return 0, fmt.Errorf("%d keys have the id %s", len(found), id)
	}
	return found[0], nil
}

// holder returns the handle of a private key or an HMAC key, as which names it. The
// caller must call done. The token object itself is used: a private key's
// operation outweighs what a copy in memory would save.
func (t *token) holder(ctx context.Context, c *connection, id hsm.KeyID, which algorithm) (*subKey, error) {
	sid := subID{key: id, alg: which}
	if sub, ok := c.keys.get(sid); ok {
		return sub, nil
	}
	var sub *subKey
	err := c.withAnchor(ctx, func(s session) (err error) {
		var ok bool
		if sub, ok = c.keys.get(sid); ok {
			return nil // found while we waited for the anchor
		}
		mark := c.keys.mark()
		var h object
		if which == algPrivateKey {
			h, err = c.findClass(ctx, s, id, p11.CKO_PRIVATE_KEY)
		} else {
			h, err = c.findClass(ctx, s, id, p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET)
		}
		if err != nil {
			return err
		}
		allowed, err := c.api.attributes(s, h, purposes())
		if err == nil {
			sub = c.keys.addHolder(sid, h, purposesOf(allowed), mark)
		}
		return err
	})
	return sub, err
}

// purposes are the attributes that say what a key is for, to be read.
func purposes() []*p11.Attribute {
	return []*p11.Attribute{p11.NewAttribute(p11.CKA_UNWRAP, nil), p11.NewAttribute(p11.CKA_SIGN, nil),
		p11.NewAttribute(p11.CKA_DECRYPT, nil), p11.NewAttribute(p11.CKA_DERIVE, nil)}
}

// purposesOf returns what a key may be used for.
func purposesOf(allowed []*p11.Attribute) []hsm.Purpose {
	var all []hsm.Purpose
	for i, p := range []hsm.Purpose{hsm.PurposeUnwrap, hsm.PurposeSign, hsm.PurposeDecrypt, hsm.PurposeAgree} {
		if isTrue(allowed[i]) {
			all = append(all, p)
		}
	}
	return all
}

// ulong reads a CK_ULONG attribute.
func ulong(a *p11.Attribute) uint {
	if len(a.Value) != 8 {
		return ^uint(0)
	}
	return uint(binary.NativeEndian.Uint64(a.Value))
}
