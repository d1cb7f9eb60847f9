package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// nssKeySlot is the slot of the key database. Its token counts as initialised only
// once it has a PIN.
const nssKeySlot slot = 2

// findSoftokn finds NSS's module; tests that need it fail without.
func findSoftokn(t testing.TB) string {
	t.Helper()
	path, err := firstExisting([]string{"/usr/lib/*/libsoftokn3.so", "/usr/lib/*/nss/libsoftokn3.so", "/usr/lib64/libsoftokn3.so", "/usr/lib/libsoftokn3.so"})
	if err != nil {
		t.Fatal("libsoftokn3.so is missing; apt install libnss3")
	}
	return path
}

// newNSS makes an NSS key database with a PIN and returns how to open it.
func newNSS(t testing.TB) Config {
	t.Helper()
	cfg := Config{
		Module:     findSoftokn(t),
		TokenLabel: "NSS Certificate DB",
		PIN:        PIN(testPIN),
		InitArgs:   fmt.Sprintf("configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags=", t.TempDir()),
	}
	m, err := acquireModule(context.Background(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = setUserPIN(m.api, nssKeySlot, []byte{}, cfg.PIN)
	if err := errors.Join(err, m.release()); err != nil {
		t.Fatal(err)
	}
	return cfg
}
