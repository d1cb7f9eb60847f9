package pkcs11

import (
	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// checkLength refuses an imported secret that hasn't want bytes.
func (u *unwrapper) checkLength(o object, want int) error {
	length, err := u.c.api.attributes(u.s, o, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE_LEN, nil)})
	if err != nil {
		return err
	}
	got := int(ulong(length[0]))
	if got == 0 { // SoftHSM doesn't know it of what was unwrapped
		return u.measure(want)
	}
	if got != want {
		return badArgument("the imported key has %d bytes, want %d", got, want)
	}
	return nil
}

// measure finds the length out by wrapping: a copy that may be extracted, which lives
// for this only, under a key that nobody knows. RFC 5649 rounds up to 8 bytes and
// adds 8. Keys that are shorter than they should be checkSecret refuses; so only an
// HMAC-224 key may be up to 4 bytes too long.
func (u *unwrapper) measure(want int) error {
	copied, err := u.unwrap([]*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY),
		p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_GENERIC_SECRET),
		p11.NewAttribute(p11.CKA_TOKEN, false),
		p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true),
		p11.NewAttribute(p11.CKA_EXTRACTABLE, true),
	})
	if err != nil {
		return err
	}
	u.made = append(u.made, copied)
	under, err := u.c.api.generate(u.s, p11.CKM_AES_KEY_GEN, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_VALUE_LEN, 32),
		p11.NewAttribute(p11.CKA_WRAP, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, false)})
	if err != nil {
		return err
	}
	u.made = append(u.made, under)
	whole, err := u.c.api.wrapKey(u.s, p11.CKM_AES_KEY_WRAP_PAD, under, copied)
	if err != nil {
		return err
	}
	if whole != (want+7)/8*8+8 {
		return badArgument("the imported key doesn't have %d bytes", want)
	}
	return nil
}

// checkSecret has an imported secret do what it is for. A module that doesn't know the
// length refuses keys of odd lengths here.
func (u *unwrapper) checkSecret(o object) error {
	var err error
	if u.w.Type.MACHash() != 0 {
		err = checkMAC(u.c.api, u.s, o, u.w.Type)
	} else {
		err = u.checkAES(o)
	}
	switch classify(err) {
	case classFatal, classOther, classPolicy, classAmbiguous:
		if err != nil {
			return badArgument("the imported key is not a %s key: %w", u.w.Type, err)
		}
	}
	return err
}

func (u *unwrapper) checkAES(o object) error {
	key := o
	if how := u.t.caps.Derivation(); how != hsm.DerivationNone {
		sub, err := u.c.api.derive(u.s, o, how, newSalt(algorithmOf(how)))
		if err != nil {
			return err
		}
		u.made = append(u.made, sub)
		key = sub
	}
	_, b := newBlob(algDirect, [saltSize]byte{}, len(probeText))
	return sealInto(u.c.api, u.s, key, b, probeText, probeAAD)
}
