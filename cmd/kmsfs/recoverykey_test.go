package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/youmark/pkcs8"
)

// rsaKey is "rsakey NAME [PASSPHRASE]": makes NAME.pem with a private key and NAME.pub with its public
// one.
func rsaKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: rsakey NAME [PASSPHRASE]")
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	ts.Check(err)
	var passphrase []byte
	if len(args) == 2 {
		passphrase = []byte(args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pem"), privatePEM(ts, private, passphrase), 0o600))
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644))
}

type checker interface{ Check(error) }

// privatePEM writes a key as openssl does: PKCS#8, with a passphrase encrypted by PBES2.
func privatePEM(t checker, private *rsa.PrivateKey, passphrase []byte) []byte {
	der, err := pkcs8.MarshalPrivateKey(private, passphrase, nil)
	t.Check(err)
	kind := "PRIVATE KEY"
	if passphrase != nil {
		kind = "ENCRYPTED PRIVATE KEY"
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

type checks struct{ t testing.TB }

func (c checks) Check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func TestPrivateKeysComeFromEveryFormOfPEM(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	checks{t}.Check(err)
	secret := []byte("secret")
	for name, text := range map[string][]byte{
		"PKCS#8":           privatePEM(checks{t}, private, nil),
		"PKCS#8 encrypted": privatePEM(checks{t}, private, secret),
		"PKCS#1":           pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}),
	} {
		got, err := parsePrivatePEM(text, func() ([]byte, error) { return []byte("secret"), nil })
		if err != nil || !got.Equal(private) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = parsePrivatePEM(privatePEM(checks{t}, private, secret), func() ([]byte, error) { return []byte("wrong"), nil })
	var own *appError
	if !errors.As(err, &own) || own.code != exitKeys || len(own.hints) == 0 {
		t.Errorf("wrong passphrase: %v", err)
	}
}

func TestWhatIsNoPrivateKeyIsRefusedWithAHint(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	checks{t}.Check(err)
	old := &pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: x509.MarshalPKCS1PrivateKey(private)}
	for name, text := range map[string][]byte{
		"nothing":        nil,
		"public":         pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&private.PublicKey)}),
		"old encryption": pem.EncodeToMemory(old),
	} {
		_, err := parsePrivatePEM(text, nil)
		var own *appError
		if !errors.As(err, &own) || own.code != exitUsage || len(own.hints) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParsePrivatePEM(f *testing.F) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	checks{f}.Check(err)
	f.Add(privatePEM(checks{f}, private, nil))
	f.Add(privatePEM(checks{f}, private, []byte("secret")))
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := parsePrivatePEM(text, func() ([]byte, error) { return []byte("secret"), nil })
		if (key == nil) == (err == nil) {
			t.Errorf("key %v, error %v", key != nil, err)
		}
	})
}
