package pkcs11

import (
	"context"
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// GenerateKeyPair implements hsm.Token.
func (t *token) GenerateKeyPair(ctx context.Context, id hsm.KeyID, typ hsm.KeyType, purpose hsm.Purpose, label string) error {
	const op = "GenerateKeyPair"
	shape := pairShape{typ: typ, purpose: purpose, onToken: true}
	if err := shape.check(); err != nil {
		return t.report(op, err)
	}
	return t.makeKey(ctx, op, id, func(_ context.Context, c *connection, s session) error {
		return t.generatePair(c, s, shape, id, label)
	})
}

// GenerateMACKey implements hsm.Token.
func (t *token) GenerateMACKey(ctx context.Context, id hsm.KeyID, typ hsm.KeyType, label string) error {
	const op = "GenerateMACKey"
	if macMechanisms[typ] == 0 {
		return t.report(op, badArgument("%s is no type of HMAC keys", typ))
	}
	return t.makeKey(ctx, op, id, func(_ context.Context, c *connection, s session) error {
		return eachStrictness(func(how keyStrictness) error {
			h, err := c.api.generate(s, p11.CKM_GENERIC_SECRET_KEY_GEN, append(macAttributes(typ, true, how), naming(id, label)...))
			if err != nil {
				return err
			}
			return destroyUnless(c.api, s, checkMAC(c.api, s, h, typ), h)
		})
	})
}

// makeKey runs generate, which makes a key with an id that must be free. An attempt
// whose answer was lost may have made the key; what is left of it is removed, as
// nobody knows of it yet.
func (t *token) makeKey(ctx context.Context, op string, id hsm.KeyID, generate func(context.Context, *connection, session) error) error {
	if err := t.enter(ctx, op); err != nil {
		return err
	}
	sent := false
	job := func(ctx context.Context) error {
		return t.attempt(ctx, op, func(ctx context.Context, c *connection) error {
			return c.withSession(ctx, func(s session) error {
				found, err := c.findAll(ctx, s, id)
				if err != nil {
					return err
				}
				if len(found) > 0 && !sent {
					return &hsm.Error{Kind: hsm.KindKeyExists, Err: fmt.Errorf("the token has a backing key %s", id)}
				}
				for _, o := range found {
					if err := c.api.destroy(s, o); err != nil {
						return err
					}
				}
				sent = true
				return generate(ctx, c, s)
			})
		})
	}
	return lacks(t.run(ctx, op, job, nothing))
}

// check refuses combinations that make no sense.
func (p pairShape) check() error {
	isRSA, onCurve := p.typ.RSABits() > 0, p.typ.CoordinateSize() > 0
	ok := false
	switch p.purpose {
	case hsm.PurposeSign:
		ok = isRSA || onCurve || p.typ == hsm.Ed25519
	case hsm.PurposeDecrypt, hsm.PurposeUnwrap, hsm.PurposeUnwrapSHA256:
		ok = isRSA
	case hsm.PurposeAgree:
		ok = onCurve && p.typ != hsm.Secp256k1
	}
	if !ok {
		return badArgument("a %s key can't have the purpose %d", p.typ, p.purpose)
	}
	return nil
}

func badArgument(format string, args ...any) error {
	return &hsm.Error{Kind: hsm.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// generatePair makes a pair that works. Without unwrapping by SHA-256 in the token an
// unwrapping key may do it in two steps.
func (t *token) generatePair(c *connection, s session, shape pairShape, id hsm.KeyID, label string) error {
	shape.host = shape.purpose == hsm.PurposeUnwrapSHA256 && t.rawUnwrap.Load()
	err := t.generateStrictest(c, s, shape, id, label)
	if shape.purpose == hsm.PurposeUnwrapSHA256 && !shape.host && isAny(err, lackCodes...) {
		t.rawUnwrap.Store(true)
		shape.host = true
		return t.generateStrictest(c, s, shape, id, label)
	}
	return err
}

// generateStrictest makes a pair in the strictest shape that the token accepts, and
// sees that it works.
func (t *token) generateStrictest(c *connection, s session, shape pairShape, id hsm.KeyID, label string) error {
	return eachStrictness(func(how keyStrictness) error {
		shape := shape
		shape.keyStrictness = how
		public, private, err := c.api.generatePair(s, pairKinds[shape.typ].mechanism,
			append(shape.public(), naming(id, label)...), append(shape.private(), naming(id, label)...))
		if err != nil {
			return err
		}
		return destroyUnless(c.api, s, t.checkPair(c, s, shape, public, private), public, private)
	})
}

func naming(id hsm.KeyID, label string) []*p11.Attribute {
	return []*p11.Attribute{p11.NewAttribute(p11.CKA_ID, id[:]), p11.NewAttribute(p11.CKA_LABEL, label)}
}

// eachStrictness runs make with one strictness after the other until one is
// accepted. The error is that of the least strict, which says what the token really
// lacks.
func eachStrictness(make func(keyStrictness) error) error {
	var err error
	for _, how := range strictnesses {
		if err = make(how); err == nil {
			return nil
		}
		if c := classify(err); c != classOther && c != classPolicy && !isCall(err, p11.CKR_GENERAL_ERROR) {
			return err
		}
	}
	return err
}

// destroyUnless removes objects that have failed their check.
func destroyUnless(api cryptoki, s session, err error, made ...object) error {
	if err != nil {
		for _, o := range made {
			err = errors.Join(err, api.destroy(s, o))
		}
	}
	return err
}

// lackCodes are the return values of modules for what they can't do.
var lackCodes = []uint{
	p11.CKR_MECHANISM_INVALID, p11.CKR_MECHANISM_PARAM_INVALID, p11.CKR_FUNCTION_NOT_SUPPORTED, p11.CKR_ARGUMENTS_BAD,
	p11.CKR_KEY_SIZE_RANGE, p11.CKR_ATTRIBUTE_VALUE_INVALID, p11.CKR_ATTRIBUTE_TYPE_INVALID, p11.CKR_TEMPLATE_INCONSISTENT,
	p11.CKR_TEMPLATE_INCOMPLETE, p11.CKR_CURVE_NOT_SUPPORTED, p11.CKR_DOMAIN_PARAMS_INVALID,
}

// lacks gives what is left of an operation that the token can't do its kind.
func lacks(err error) error {
	var e *hsm.Error
	if !errors.As(err, &e) || e.Kind != hsm.KindInternal {
		return err
	}
	for _, rv := range lackCodes {
		if isCall(err, rv) {
			return &hsm.Error{Op: e.Op, Kind: hsm.KindUnsupported, Err: e.Err}
		}
	}
	if isCall(err, p11.CKR_KEY_FUNCTION_NOT_PERMITTED) || isCall(err, p11.CKR_KEY_TYPE_INCONSISTENT) {
		return &hsm.Error{Op: e.Op, Kind: hsm.KindInvalidArgument, Err: fmt.Errorf("the key is not for that: %w", e.Err)}
	}
	return err
}
