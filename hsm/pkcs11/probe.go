package pkcs11

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// prober finds out what a token does, with session objects that it destroys in
// the end. It holds the anchor.
type prober struct {
	api   cryptoki
	s     session
	caps  hsm.Capabilities
	shape keyShape
	made  []object
	// latency is the shortest AES-GCM decryption with a session key that was seen.
	latency time.Duration
}

var (
	probeText = []byte("kmsfs capability probe, 32 bytes")
	probeAAD  = []byte("kmsfs capability probe")
)

// probe determines the token's capabilities and the shape of its backing keys.
// Without AES-GCM the token is of no use: KindUnsupported.
func probe(ctx context.Context, c *connection) (*prober, error) {
	p := &prober{api: c.api, latency: time.Hour}
	err := c.withAnchor(ctx, func(s session) error {
		p.s = s
		defer p.cleanUp()
		for _, step := range []func() error{p.gcm, p.derivations, p.keyShape, p.copies, p.boundary} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
	return p, err
}

func (p *prober) cleanUp() {
	for _, o := range p.made {
		_ = p.api.destroy(p.s, o) // gone with the session anyway
	}
}

// keep remembers an object to destroy.
func (p *prober) keep(o object, err error) (object, error) {
	if err == nil {
		p.made = append(p.made, o)
	}
	return o, err
}

// importKey puts a known AES-256 key into the token, or reports that it can't.
func (p *prober) importKey(derives bool) (object, []byte, error) {
	value := make([]byte, 32)
	_, _ = rand.Read(value) // never fails, see crypto/rand
	h, err := p.keep(p.api.create(p.s, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY),
		p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_AES),
		p11.NewAttribute(p11.CKA_TOKEN, false),
		p11.NewAttribute(p11.CKA_VALUE, value),
		p11.NewAttribute(p11.CKA_DERIVE, derives),
		p11.NewAttribute(p11.CKA_ENCRYPT, !derives),
		p11.NewAttribute(p11.CKA_DECRYPT, !derives),
	}))
	return h, value, err
}

// generate makes an unknown session key of a shape.
func (p *prober) generate(shape keyShape) (object, error) {
	return p.keep(p.api.generate(p.s, p11.CKM_AES_KEY_GEN, shape.attributes(false)))
}

// gcm checks AES-GCM against the software's, or against itself if no key can be
// imported.
func (p *prober) gcm() error {
	key, value, err := p.importKey(false)
	p.caps.KnownAnswer = err == nil
	if err != nil {
		if key, err = p.generate(keyShape{}); err != nil {
			return unsupported(fmt.Errorf("no AES-256 keys: %w", err))
		}
		value = nil
	}
	iv, sealed, err := p.seal(key)
	if err == nil && value != nil {
		err = openInSoftware(value, iv, sealed)
	}
	if err != nil {
		return unsupported(fmt.Errorf("AES-GCM: %w", err))
	}
	for range 4 { // the first use of a key may be slower
		if err := p.opens(key, iv, sealed); err != nil {
			return unsupported(fmt.Errorf("AES-GCM: %w", err))
		}
	}
	return p.forgeries(key, iv, sealed)
}

// seal encrypts probeText and finds out whose IV was used.
func (p *prober) seal(key object) (iv, sealed []byte, err error) {
	iv = make([]byte, ivSize)
	_, _ = rand.Read(iv) // never fails, see crypto/rand
	mine := bytes.Clone(iv)
	sealed = make([]byte, len(probeText)+tagSize)
	n, err := p.api.encrypt(p.s, key, iv, probeAAD, probeText, sealed)
	if err == nil && n != len(sealed) {
		err = fmt.Errorf("%d bytes of ciphertext, want %d", n, len(sealed))
	}
	p.caps.TokenIV = p.caps.TokenIV || !bytes.Equal(iv, mine)
	return iv, sealed, err
}

func (p *prober) opens(key object, iv, sealed []byte) error {
	out := make([]byte, len(sealed))
	start := time.Now()
	n, err := p.api.decrypt(p.s, key, iv, probeAAD, sealed, out)
	p.latency = min(p.latency, time.Since(start))
	if err == nil && !bytes.Equal(out[:n], probeText) {
		err = errors.New("decryption gives another plaintext")
	}
	return err
}

// forgeries checks that a changed ciphertext and a changed aad are refused, and
// learns how.
func (p *prober) forgeries(key object, iv, sealed []byte) error {
	out := make([]byte, len(sealed))
	flipped := bytes.Clone(sealed)
	flipped[0] ^= 1
	for _, forged := range []struct{ aad, sealed []byte }{{probeAAD, flipped}, {[]byte("another"), sealed}} {
		_, err := p.api.decrypt(p.s, key, iv, forged.aad, forged.sealed, out)
		switch classify(err) {
		case classAuth:
		case classAmbiguous:
			p.caps.AmbiguousAuthFailure = true
		default:
			return unsupported(fmt.Errorf("AES-GCM answers a forged ciphertext with %v", err))
		}
	}
	return nil
}

// derivations finds the ways of deriving that work, preferred first.
func (p *prober) derivations() error {
	for _, how := range []hsm.Derivation{hsm.DerivationSP800108, hsm.DerivationAESECB} {
		if p.derivesWith(how) == nil {
			p.caps.Derivations = append(p.caps.Derivations, how)
		}
	}
	p.shape.derives = len(p.caps.Derivations) > 0
	return nil
}

// derivesWith compares a derived key, by what it encrypts, with the same key
// derived in software.
func (p *prober) derivesWith(how hsm.Derivation) error {
	if !p.caps.KnownAnswer {
		return p.derivesConsistently(how)
	}
	base, value, err := p.importKey(true)
	if err != nil {
		return err
	}
	salt := newSalt(algorithmOf(how))
	sub, err := p.keep(p.api.derive(p.s, base, how, salt))
	if err != nil {
		return err
	}
	iv, sealed, err := p.seal(sub)
	if err != nil {
		return err
	}
	want, err := deriveInSoftware(value, how, salt)
	if err != nil {
		return err
	}
	return openInSoftware(want, iv, sealed)
}

// derivesConsistently checks that equal salts give equal keys and others don't.
func (p *prober) derivesConsistently(how hsm.Derivation) error {
	base, err := p.generate(keyShape{derives: true})
	if err != nil {
		return err
	}
	salt := newSalt(algorithmOf(how))
	var subs [3]object
	for i, s := range [][saltSize]byte{salt, salt, newSalt(algorithmOf(how))} {
		if subs[i], err = p.keep(p.api.derive(p.s, base, how, s)); err != nil {
			return err
		}
	}
	iv, sealed, err := p.seal(subs[0])
	if err != nil {
		return err
	}
	if err := p.opens(subs[1], iv, sealed); err != nil {
		return err
	}
	if p.opens(subs[2], iv, sealed) == nil {
		return errors.New("another salt gives the same key")
	}
	return nil
}

// openInSoftware checks a ciphertext of probeText with Go's AES-GCM. Opening, not
// sealing, because FIPS 140-3 mode allows it with a given IV.
func openInSoftware(key, iv, sealed []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	text, err := gcm.Open(nil, iv, sealed, probeAAD)
	if err != nil || !bytes.Equal(text, probeText) {
		return errors.New("the result differs from the one computed in software")
	}
	return nil
}

// unsupported reports what the token lacks; faults of the module keep their class.
func unsupported(err error) error {
	switch classify(err) {
	case classSession, classLogin, classLimit:
		return err
	}
	return &hsm.Error{Kind: hsm.KindUnsupported, Err: err,
		Help: "the token must do AES-256-GCM with additional data; SoftHSM does"}
}
