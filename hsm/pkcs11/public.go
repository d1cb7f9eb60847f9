package pkcs11

import (
	"bytes"
	"context"
	"encoding/asn1"
	"errors"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"
)

// PublicKey implements hsm.Token.
func (t *token) PublicKey(ctx context.Context, id hsm.KeyID) ([]byte, error) {
	const op = "PublicKey"
	k, err := t.publicKey(ctx, op, id)
	if err != nil {
		return nil, err
	}
	der, err := k.Marshal()
	return der, t.report(op, err)
}

// publicKey returns the public key from the cache or the token.
func (t *token) publicKey(ctx context.Context, op string, id hsm.KeyID) (*publickey.Key, error) {
	if err := t.enter(ctx, op); err != nil {
		return nil, err
	}
	if c := t.conn.Load(); c != nil {
		if k, ok := c.keys.publicKey(id); ok {
			t.life.leave()
			return k, nil
		}
	}
	var k *publickey.Key
	job := func(ctx context.Context) error {
		return t.attempt(ctx, op, func(ctx context.Context, c *connection) error {
			return c.withSession(ctx, func(s session) error {
				mark := c.keys.mark()
				h, err := c.findClass(ctx, s, id, p11.CKO_PUBLIC_KEY)
				if err != nil {
					return err
				}
				if k, err = readPublicKey(c.api, s, h); err == nil {
					c.keys.setPublicKey(id, k, mark)
				}
				return err
			})
		})
	}
	if err := t.run(ctx, op, job, nothing); err != nil {
		return nil, err
	}
	return k, nil
}

// readPublicKey reads a public key object.
func readPublicKey(api cryptoki, s session, h object) (*publickey.Key, error) {
	kind, err := api.attributes(s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_KEY_TYPE, nil)})
	if err != nil {
		return nil, err
	}
	if ulong(kind[0]) == p11.CKK_RSA {
		parts, err := api.attributes(s, h, []*p11.Attribute{
			p11.NewAttribute(p11.CKA_MODULUS, nil), p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, nil)})
		if err != nil {
			return nil, err
		}
		return publickey.NewRSA(parts[0].Value, parts[1].Value)
	}
	parts, err := api.attributes(s, h, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_EC_PARAMS, nil), p11.NewAttribute(p11.CKA_EC_POINT, nil)})
	if err != nil {
		return nil, err
	}
	for typ, k := range pairKinds {
		if k.curve != nil && bytes.Equal(curveParams(k.curve), parts[0].Value) {
			return publickey.NewPoint(typ, rawPoint(parts[1].Value))
		}
	}
	return nil, errors.New("a key on an unknown curve")
}

// rawPoint takes the OCTET STRING off an EC point, in which most modules pack it.
func rawPoint(value []byte) []byte {
	var raw []byte
	if rest, err := asn1.Unmarshal(value, &raw); err == nil && len(rest) == 0 {
		return raw
	}
	return value
}

// publicKey returns a cached public key.
func (k *keyring) publicKey(id hsm.KeyID) (*publickey.Key, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.public[id]
	return p, ok
}

func (k *keyring) setPublicKey(id hsm.KeyID, p *publickey.Key, mark uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if mark != k.forgets {
		return
	}
	if len(k.public) >= k.capacity {
		clear(k.public)
	}
	k.public[id] = p
}
