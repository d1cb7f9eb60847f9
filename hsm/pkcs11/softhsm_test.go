package pkcs11

import (
	"context"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
)

const testPIN = "correct horse battery"

// newSoftHSM provisions a token in a fresh directory and returns how to open it.
func newSoftHSM(t testing.TB) Config {
	t.Helper()
	dir := t.TempDir()
	t.Setenv(softHSMConfEnv, "")
	if err := ProvisionSoftHSM(dir, []byte(testPIN), "kmsfs test"); err != nil {
		t.Fatal(err)
	}
	return Config{TokenLabel: "kmsfs test", PIN: PIN(testPIN), SoftHSMConf: SoftHSMConf(dir)}
}

// open opens a token and closes it at the end of the test.
func open(t testing.TB, cfg Config) hsm.Token {
	t.Helper()
	tok, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tok.Close(); err != nil {
			t.Error(err)
		}
	})
	return tok
}
