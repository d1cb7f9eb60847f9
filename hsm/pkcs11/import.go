package pkcs11

import (
	"context"
	"crypto"
	"errors"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"
)

// ckmKeyWrapKWP is CKM_AES_KEY_WRAP_KWP of PKCS#11 3.0, RFC 5649. Modules of 2.40
// have RFC 5649, if at all, as CKM_AES_KEY_WRAP_PAD. NSS has both, and another
// padding under the older name.
const ckmKeyWrapKWP = 0x210b

// wrapping is a key that unwraps others, with the hash of its RSAES-OAEP.
type wrapping struct {
	key    object
	public *publickey.Key
	hash   crypto.Hash
	host   bool // made with raw RSA, as the token doesn't do the hash
}

// keyEncryptionKey is the template of the AES key between RSA and the imported key.
var keyEncryptionKey = []*p11.Attribute{
	p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY),
	p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_AES),
	p11.NewAttribute(p11.CKA_TOKEN, false),
	p11.NewAttribute(p11.CKA_PRIVATE, true),
	p11.NewAttribute(p11.CKA_SENSITIVE, true),
	p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
	p11.NewAttribute(p11.CKA_UNWRAP, true),
	p11.NewAttribute(p11.CKA_DECRYPT, false),
}

// ImportKey implements hsm.Token.
func (t *token) ImportKey(ctx context.Context, id hsm.KeyID, w hsm.WrappedKey, label string) error {
	const op = "ImportKey"
	if err := checkWrapped(w); err != nil {
		return t.report(op, err)
	}
	public, err := t.publicKey(ctx, op, w.By)
	if err != nil {
		return err
	}
	w.Wrapped = append([]byte(nil), w.Wrapped...)
	return t.makeKey(ctx, op, id, func(ctx context.Context, c *connection, s session) error {
		sub, err := t.holder(ctx, c, w.By, algPrivateKey)
		if err != nil {
			return err
		}
		defer t.done(c, sub)
		if !sub.allows(hsm.PurposeUnwrap) {
			return badArgument("the backing key %s is not for that", w.By)
		}
		u := &unwrapper{t: t, c: c, s: s, w: w,
			by: wrapping{key: sub.handle, public: public, hash: w.Hash, host: sub.allows(hsm.PurposeDecrypt)}}
		defer u.close()
		if err := u.openEnvelope(); err != nil {
			return err
		}
		if _, isPair := pairKinds[w.Type]; isPair {
			return u.importPair(id, label)
		}
		return u.importSecret(id, label)
	})
}

func checkWrapped(w hsm.WrappedKey) error {
	_, isPair := pairKinds[w.Type]
	switch {
	case oaepHashes[w.Hash] == nil:
		return badArgument("no RSAES-OAEP with %v", w.Hash)
	case isPair && !w.AESKeyWrap && w.Type.RSABits() > 0:
		return badArgument("an RSA key is longer than RSAES-OAEP carries")
	case w.Type == hsm.Ed25519:
		return &hsm.Error{Kind: hsm.KindUnsupported, Err: errNoRecovery}
	case isPair:
		return pairShape{typ: w.Type, purpose: w.Purpose}.check()
	case w.Type != hsm.AES256 && macMechanisms[w.Type] == 0:
		return badArgument("no keys of type %q", w.Type)
	}
	return nil
}

// unwrapper is one import under way.
type unwrapper struct {
	t  *token
	c  *connection
	s  session
	by wrapping
	w  hsm.WrappedKey

	kek  object // with AESKeyWrap
	made []object
}

// close destroys what isn't the result.
func (u *unwrapper) close() {
	for _, o := range u.made {
		_ = u.c.api.destroy(u.s, o) // ends with the session anyway
	}
}

// openEnvelope unwraps the AES key that the imported key is under, if it is.
func (u *unwrapper) openEnvelope() error {
	if !u.w.AESKeyWrap {
		return nil
	}
	size := u.by.public.Type().RSABits() / 8
	if len(u.w.Wrapped) <= size {
		return callResult(fnUnwrap, p11.CKR_WRAPPED_KEY_LEN_RANGE)
	}
	var err error
	if u.kek, err = u.t.unwrapOAEP(u.c.api, u.s, u.by, u.w.Wrapped[:size], keyEncryptionKey); err != nil {
		return err
	}
	u.made = append(u.made, u.kek)
	u.w.Wrapped = u.w.Wrapped[size:]
	return nil
}

// unwrap unwraps the imported key with a template.
func (u *unwrapper) unwrap(template []*p11.Attribute) (object, error) {
	var o object
	var err error
	if u.w.AESKeyWrap {
		o, err = u.c.api.unwrapKey(u.s, mechanism{id: ckmKeyWrapKWP}, u.kek, u.w.Wrapped, template)
		if isCall(err, p11.CKR_MECHANISM_INVALID) {
			o, err = u.c.api.unwrapKey(u.s, mechanism{id: p11.CKM_AES_KEY_WRAP_PAD}, u.kek, u.w.Wrapped, template)
		}
	} else {
		o, err = u.t.unwrapOAEP(u.c.api, u.s, u.by, u.w.Wrapped, template)
	}
	if isCall(err, p11.CKR_KEY_SIZE_RANGE) {
		err = badArgument("the imported key doesn't have the length of a %s key: %w", u.w.Type, err)
	}
	return o, err
}

// unwrapOAEP unwraps in the token. For a hash that it doesn't do, the padding is
// removed here, and what was inside goes back under SHA-1 at once.
func (t *token) unwrapOAEP(api cryptoki, s session, by wrapping, wrapped []byte, template []*p11.Attribute) (object, error) {
	if !by.public.Encrypts(wrapped) {
		return 0, callResult(fnUnwrap, p11.CKR_WRAPPED_KEY_LEN_RANGE)
	}
	if by.hash == crypto.SHA256 && by.host {
		t.rawUnwrap.Store(true)
		inside, err := t.openOAEP(api, s, by.key, by.hash, wrapped)
		if err != nil {
			return 0, err
		}
		defer clear(inside)
		by.hash = crypto.SHA1
		if wrapped, err = by.public.EncryptOAEP(oaepHashes[by.hash](), inside); err != nil {
			return 0, err
		}
	}
	return api.unwrapKey(s, mechanism{p11.CKM_RSA_PKCS_OAEP, oaepParams(by.hash)}, by.key, wrapped, template)
}

// importSecret imports an AES or HMAC key.
func (u *unwrapper) importSecret(id hsm.KeyID, label string) error {
	want := 32
	template := func(how keyStrictness) []*p11.Attribute {
		return withoutLength(keyShape{derives: u.t.shape.Load().derives, locked: how.locked, restrict: how.restrict}.attributes(true))
	}
	if h := u.w.Type.MACHash(); h != 0 {
		want = h.Size()
		template = func(how keyStrictness) []*p11.Attribute { return withoutLength(macAttributes(u.w.Type, true, how)) }
	}
	return eachStrictness(func(how keyStrictness) error {
		o, err := u.unwrap(append(template(how), naming(id, label)...))
		if err != nil {
			return err
		}
		if err = u.checkLength(o, want); err == nil {
			err = u.checkSecret(o)
		}
		return destroyUnless(u.c.api, u.s, err, o)
	})
}

// withoutLength takes CKA_VALUE_LEN out, which unwrapping finds out by itself.
func withoutLength(template []*p11.Attribute) []*p11.Attribute {
	kept := template[:0]
	for _, a := range template {
		if a.Type != p11.CKA_VALUE_LEN {
			kept = append(kept, a)
		}
	}
	return kept
}

// importPair imports a private key and makes its public key.
func (u *unwrapper) importPair(id hsm.KeyID, label string) error {
	public, err := u.recoverPublic()
	if err != nil {
		return err
	}
	if public.Type() != u.w.Type {
		return badArgument("the imported key is a %s key, want %s", public.Type(), u.w.Type)
	}
	return eachStrictness(func(how keyStrictness) error {
		shape := pairShape{typ: u.w.Type, purpose: u.w.Purpose, onToken: true, keyStrictness: how}
		private, err := u.unwrap(append(privateClass(u.w.Type), append(shape.private(), naming(id, label)...)...))
		if err != nil {
			return err
		}
		other, err := createPublic(u.c.api, u.s, public, append(shape.public(), naming(id, label)...))
		if err != nil {
			return destroyUnless(u.c.api, u.s, err, private)
		}
		err = u.t.checkPair(u.c, u.s, shape, other, private)
		if errors.Is(err, errWrong) {
			err = badArgument("the private key that was imported is inconsistent")
		}
		return destroyUnless(u.c.api, u.s, err, private, other)
	})
}

func privateClass(t hsm.KeyType) []*p11.Attribute {
	return []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PRIVATE_KEY),
		p11.NewAttribute(p11.CKA_KEY_TYPE, pairKinds[t].keyType),
	}
}

// createPublic puts a public key into the token, in place of what would generate one.
func createPublic(api cryptoki, s session, public *publickey.Key, generating []*p11.Attribute) (object, error) {
	template := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PUBLIC_KEY),
		p11.NewAttribute(p11.CKA_KEY_TYPE, pairKinds[public.Type()].keyType),
	}
	for _, a := range generating {
		if a.Type != p11.CKA_MODULUS_BITS {
			template = append(template, a)
		}
	}
	if modulus := public.Modulus(); modulus != nil {
		return api.create(s, append(template, p11.NewAttribute(p11.CKA_MODULUS, modulus)))
	}
	point, err := public.Point()
	if err != nil {
		return 0, err
	}
	return api.create(s, append(template, p11.NewAttribute(p11.CKA_EC_POINT, octetString(point))))
}

// octetString is the DER around an EC point.
func octetString(point []byte) []byte {
	if len(point) < 128 {
		return append([]byte{4, byte(len(point))}, point...)
	}
	return append([]byte{4, 0x81, byte(len(point))}, point...)
}

var errNoRecovery = errors.New("the token does not show what the private key's public key is")
