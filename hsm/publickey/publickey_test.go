package publickey

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/kmsfs/kmsfs/hsm"
)

// generatorSPKI is the SubjectPublicKeyInfo of secp256k1's base point (SEC 2
// section 2.4.1), the public key of the private key 1.
const generatorSPKI = "3056301006072a8648ce3d020106052b8104000a034200" +
	"0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798" +
	"483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"

func spki(t testing.TB, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestKeysComeBackAsTheyWere(t *testing.T) {
	r, _ := rsa.GenerateKey(rand.Reader, 2048)
	e, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p, _, _ := ed25519.GenerateKey(rand.Reader)
	generator, _ := hex.DecodeString(generatorSPKI)
	for typ, der := range map[hsm.KeyType][]byte{
		hsm.RSA2048: spki(t, &r.PublicKey), hsm.P384: spki(t, &e.PublicKey), hsm.Ed25519: spki(t, p), hsm.Secp256k1: generator,
	} {
		k, err := Parse(der)
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		again, err := k.Marshal()
		if err != nil || k.Type() != typ || !bytes.Equal(again, der) {
			t.Errorf("%s comes back as %s %x, %v", typ, k.Type(), again, err)
		}
	}
}

func TestKeysOfOtherTypesAndPointsOffTheCurveAreRefused(t *testing.T) {
	e, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	r, _ := rsa.GenerateKey(rand.Reader, 1024)
	off, _ := hex.DecodeString(generatorSPKI)
	off[len(off)-1] ^= 1
	long, _ := hex.DecodeString(generatorSPKI + "00")
	for name, der := range map[string][]byte{
		"P-224": spki(t, &e.PublicKey), "RSA 1024": spki(t, &r.PublicKey), "off the curve": off, "trailing byte": long, "nothing": nil,
	} {
		if k, err := Parse(der); err == nil {
			t.Errorf("%s: %+v", name, k)
		}
	}
}

func TestSecp256k1Verifies(t *testing.T) {
	private, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewPoint(hsm.Secp256k1, private.PubKey().SerializeUncompressed())
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("message"))
	signature := secpecdsa.Sign(private, digest[:]).Serialize()
	if !k.Verify(hsm.ECDSA, crypto.SHA256, digest[:], signature) {
		t.Error("a good signature is refused")
	}
	digest[0] ^= 1
	if k.Verify(hsm.ECDSA, crypto.SHA256, digest[:], signature) || k.Verify(hsm.ECDSA, crypto.SHA256, digest[:], nil) {
		t.Error("a bad signature is accepted")
	}
	for _, scheme := range []hsm.SignatureScheme{hsm.RSAPKCS1v15, hsm.RSAPSS, hsm.EdDSA, hsm.EdDSAph, "", "x"} {
		if k.Verify(scheme, crypto.SHA256, digest[:], signature) {
			t.Errorf("%q verifies with a key of another type", scheme)
		}
	}
}

func FuzzParse(f *testing.F) {
	generator, _ := hex.DecodeString(generatorSPKI)
	e, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	f.Add(generator)
	f.Add(spki(f, &e.PublicKey))
	f.Fuzz(func(t *testing.T, der []byte) {
		k, err := Parse(der)
		if err != nil {
			return
		}
		again, err := k.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if other, err := Parse(again); err != nil || other.Type() != k.Type() {
			t.Fatalf("%x comes back as %x: %v", der, again, err)
		}
		k.Verify(hsm.ECDSA, crypto.SHA256, der[:min(32, len(der))], der)
	})
}
