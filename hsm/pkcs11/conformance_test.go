package pkcs11

import (
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
