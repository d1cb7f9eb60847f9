package pkcs11

import (
	"crypto"
	"slices"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/hsmtest"
)

// modules are the two real modules that every test of behaviour runs on.
var modules = []struct {
	name string
	make func(testing.TB) Config
}{
	{"SoftHSM", newSoftHSM},
	{"NSS", newNSS},
}

func TestEveryModuleConforms(t *testing.T) {
	for _, m := range modules {
		t.Run(m.name, func(t *testing.T) {
			cfg := m.make(t)
			hsmtest.Run(t, func(t *testing.T) hsm.Token {
				tok, err := Open(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				return tok
			})
		})
	}
}

// cannot lists what the modules are known not to do.
var cannot = map[string][]hsmtest.Feature{
	"SoftHSM": {{Type: hsm.Ed25519, Scheme: hsm.EdDSAph, Hash: crypto.SHA512}},
	"NSS": {
		{Type: hsm.Ed25519, Scheme: hsm.EdDSA}, {Type: hsm.Ed25519, Scheme: hsm.EdDSAph, Hash: crypto.SHA512},
		{Type: hsm.Secp256k1, Scheme: hsm.ECDSA, Hash: crypto.SHA256},
	},
}

func TestEveryModuleConformsWithKeyPairs(t *testing.T) {
	for _, m := range modules {
		t.Run(m.name, func(t *testing.T) {
			cfg := m.make(t)
			can := slices.DeleteFunc(hsmtest.Features(), func(f hsmtest.Feature) bool { return slices.Contains(cannot[m.name], f) })
			hsmtest.RunKeys(t, func(t *testing.T) hsm.Token {
				tok, err := Open(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				return tok
			}, can)
		})
	}
}

// imports lists the private keys that the modules import.
var imports = map[string][]hsm.KeyType{
	"SoftHSM": {hsm.RSA2048, hsm.P256, hsm.P521, hsm.Secp256k1},
	"NSS":     {hsm.RSA2048},
}

func TestEveryModuleImportsKeys(t *testing.T) {
	for _, m := range modules {
		t.Run(m.name, func(t *testing.T) {
			cfg := m.make(t)
			hsmtest.RunImports(t, func(t *testing.T) hsm.Token {
				tok, err := Open(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				return tok
			}, imports[m.name]...)
		})
	}
}
