package pkcs11

import (
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// TestPrivateKeysCannotBeExtracted reads the attributes of private keys and of an
// HMAC key on both modules, and tries to read their values.
func TestPrivateKeysCannotBeExtracted(t *testing.T) {
	for _, m := range modules {
		t.Run(m.name, func(t *testing.T) {
			tok := open(t, m.make(t)).(*token)
			mac := hsm.NewKeyID()
			if err := tok.GenerateMACKey(t.Context(), mac, hsm.HMAC256, "test"); err != nil {
				t.Fatal(err)
			}
			checkPrivate(t, tok, mac, algMACKey, p11.CKA_SIGN, p11.CKA_VALUE)
			for _, c := range []struct {
				typ     hsm.KeyType
				purpose hsm.Purpose
				use     uint
				secret  uint
			}{
				{hsm.P256, hsm.PurposeSign, p11.CKA_SIGN, p11.CKA_VALUE},
				{hsm.P256, hsm.PurposeAgree, p11.CKA_DERIVE, p11.CKA_VALUE},
				{hsm.RSA2048, hsm.PurposeDecrypt, p11.CKA_DECRYPT, p11.CKA_PRIVATE_EXPONENT},
			} {
				id := hsm.NewKeyID()
				if err := tok.GenerateKeyPair(t.Context(), id, c.typ, c.purpose, "test"); err != nil {
					t.Fatal(err)
				}
				checkPrivate(t, tok, id, algPrivateKey, c.use, c.secret)
			}
		})
	}
}

func checkPrivate(t *testing.T, tok *token, id hsm.KeyID, which algorithm, use, secret uint) {
	t.Helper()
	c := tok.conn.Load()
	sub, err := tok.holder(t.Context(), c, id, which)
	if err != nil {
		t.Fatal(err)
	}
	defer tok.done(c, sub)
	want := map[uint]bool{
		p11.CKA_TOKEN: true, p11.CKA_PRIVATE: true, p11.CKA_SENSITIVE: true, p11.CKA_ALWAYS_SENSITIVE: true,
		p11.CKA_EXTRACTABLE: false, p11.CKA_NEVER_EXTRACTABLE: true,
	}
	for _, attr := range []uint{p11.CKA_SIGN, p11.CKA_DECRYPT, p11.CKA_DERIVE, p11.CKA_UNWRAP} {
		want[attr] = attr == use
	}
	checkAttributes(t, c, sub.handle, want)
	if _, err := c.api.attributes(c.anchor, sub.handle, []*p11.Attribute{p11.NewAttribute(secret, nil)}); !isCall(err, p11.CKR_ATTRIBUTE_SENSITIVE) {
		t.Errorf("reading the secret part of %s: %v", id, err)
	}
}
