package publickey

import (
	"crypto/aes"
	"encoding/hex"
	"testing"
)

// The examples of RFC 5649 section 6.
func TestKeyWrapWithPaddingIsThatOfTheRFC(t *testing.T) {
	kek, _ := hex.DecodeString("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	block, err := aes.NewCipher(kek)
	if err != nil {
		t.Fatal(err)
	}
	for secret, want := range map[string]string{
		"c37b7e6492584340bed12207808941155068f738": "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
		"466f7250617369": "afbeb0f07dfbf5419200f2ccb50bb24f",
	} {
		raw, _ := hex.DecodeString(secret)
		if got := hex.EncodeToString(wrapPadded(block, raw)); got != want {
			t.Errorf("%s is wrapped as %s, want %s", secret, got, want)
		}
	}
}
