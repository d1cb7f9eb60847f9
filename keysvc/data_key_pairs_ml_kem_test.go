package keysvc

import (
	"bytes"
	"crypto/mlkem"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"testing"
)

// The example of RFC 9935 for the seed 0, 1, ... 63.
func TestMLKEMPrivateKeysAreEncodedAsTheStandardShows(t *testing.T) {
	const want = "MFQCAQAwCwYJYIZIAWUDBAQCBEKAQAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
	seed := make([]byte, mlkem.SeedSize)
	for i := range seed {
		seed[i] = byte(i)
	}
	key, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		t.Fatal(err)
	}
	private, _, err := encodedMLKEM(mlKEM768, seed, key.EncapsulationKey().Bytes())
	if got := base64.StdEncoding.EncodeToString(private); err != nil || got != want {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
	if !bytes.Equal(seed, make([]byte, mlkem.SeedSize)) {
		t.Error("the seed isn't wiped")
	}
}

// checkMLKEMHalves checks that the private key opens what the public key encapsulates.
func checkMLKEMHalves(t *testing.T, private, public []byte) {
	t.Helper()
	var pkcs8 struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}
	var seed []byte
	for der, into := range map[*[]byte]any{&private: &pkcs8, &public: &spki} {
		if rest, err := asn1.Unmarshal(*der, into); err != nil || len(rest) > 0 {
			t.Fatalf("%d bytes more, %v", len(rest), err)
		}
	}
	if rest, err := asn1.UnmarshalWithParams(pkcs8.PrivateKey, &seed, "tag:0"); err != nil || len(rest) > 0 || !pkcs8.Algorithm.Algorithm.Equal(spki.Algorithm.Algorithm) {
		t.Fatalf("%d bytes more, %v", len(rest), err)
	}
	var to interface {
		Encapsulate() (shared, sealed []byte)
	}
	var from interface {
		Decapsulate(sealed []byte) (shared []byte, err error)
	}
	var toErr, fromErr error
	if ek := spki.PublicKey.RightAlign(); pkcs8.Algorithm.Algorithm.Equal(mlKEM768) {
		to, toErr = mlkem.NewEncapsulationKey768(ek)
		from, fromErr = mlkem.NewDecapsulationKey768(seed)
	} else {
		to, toErr = mlkem.NewEncapsulationKey1024(ek)
		from, fromErr = mlkem.NewDecapsulationKey1024(seed)
	}
	if toErr != nil || fromErr != nil {
		t.Fatal(toErr, fromErr)
	}
	shared, sealed := to.Encapsulate()
	if opened, err := from.Decapsulate(sealed); err != nil || len(shared) == 0 || !bytes.Equal(shared, opened) {
		t.Errorf("the private key doesn't open what the public key encapsulates: %v", err)
	}
}
