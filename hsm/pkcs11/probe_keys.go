package pkcs11

import (
	"fmt"

	p11 "github.com/miekg/pkcs11"
)

// keyShape finds the strictest template that the token accepts for session objects
// and that still serves.
func (p *prober) keyShape() error {
	var last error
	for _, s := range (keyShape{derives: p.shape.derives, locked: true, restrict: true}).ladder() {
		if last = p.serves(s); last == nil {
			p.shape = s
			return nil
		}
	}
	return unsupported(fmt.Errorf("backing keys: %w", last))
}

func (p *prober) serves(s keyShape) error {
	key, err := p.generate(s)
	if err != nil {
		return err
	}
	if s.derives {
		how := p.caps.Derivation()
		if key, err = p.keep(p.api.derive(p.s, key, how, newSalt(algorithmOf(how)))); err != nil {
			return err
		}
	}
	iv, sealed, err := p.seal(key)
	if err != nil {
		return err
	}
	return p.opens(key, iv, sealed)
}

// copies finds out whether a key can be copied to a session object.
func (p *prober) copies() error {
	key, err := p.generate(keyShape{})
	if err != nil {
		return nil // no direct keys, no copies
	}
	dup, err := p.keep(p.api.copyObject(p.s, key, sessionCopy))
	if err != nil {
		return nil
	}
	iv, sealed, err := p.seal(dup)
	p.caps.SessionCopies = err == nil && p.opens(key, iv, sealed) == nil
	return nil
}

// boundary finds out whether a non-extractable key really can't be got out.
func (p *prober) boundary() error {
	key, err := p.generate(keyShape{})
	if err != nil {
		return nil // can't tell, so don't claim it
	}
	_, err = p.keep(p.api.copyObject(p.s, key, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_EXTRACTABLE, true)}))
	if err == nil {
		return nil
	}
	wrapping, err := p.keep(p.api.generate(p.s, p11.CKM_AES_KEY_GEN, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_VALUE_LEN, 32),
		p11.NewAttribute(p11.CKA_WRAP, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, false)}))
	if err != nil {
		return nil
	}
	_, err = p.api.wrapKey(p.s, p11.CKM_AES_KEY_WRAP, wrapping, key)
	p.caps.EnforcesNonExtractable = err != nil
	return nil
}
