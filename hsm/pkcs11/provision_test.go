package pkcs11

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
)

func TestProvisionMakesAPrivateToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not yet", "there")
	t.Setenv(softHSMConfEnv, "")
	if err := ProvisionSoftHSM(dir, []byte(testPIN), "kmsfs"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "tokens"): 0o700, SoftHSMConf(dir): 0o600} {
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
	if got := os.Getenv(softHSMConfEnv); got != SoftHSMConf(dir) {
		t.Errorf("%s=%q", softHSMConfEnv, got)
	}
	tok := open(t, Config{TokenLabel: "kmsfs", PIN: PIN(testPIN)}) // found by the environment
	if got := tok.Info().Label; got != "kmsfs" {
		t.Errorf("label %q", got)
	}
}

func TestProvisionRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(softHSMConfEnv, "")
	if err := ProvisionSoftHSM(dir, []byte(testPIN), "kmsfs"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir, pin, label string
		want            hsm.Kind
	}{
		"label taken":       {dir, testPIN, "kmsfs", hsm.KindKeyExists},
		"short PIN":         {dir, "123", "x", hsm.KindInvalidArgument},
		"long PIN":          {dir, strings.Repeat("1", 256), "x", hsm.KindInvalidArgument},
		"no label":          {dir, testPIN, "", hsm.KindInvalidArgument},
		"long label":        {dir, testPIN, strings.Repeat("x", 33), hsm.KindInvalidArgument},
		"blank label":       {dir, testPIN, "x ", hsm.KindInvalidArgument},
		"directory is file": {file, testPIN, "x", hsm.KindModule},
		"line break":        {dir + "\nx", testPIN, "x", hsm.KindInvalidArgument},
	} {
		if err := ProvisionSoftHSM(c.dir, []byte(c.pin), c.label); !hsm.IsKind(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	open(t, Config{TokenLabel: "kmsfs", PIN: PIN(testPIN), SoftHSMConf: SoftHSMConf(dir)})
}

func TestOneConfigurationAtATime(t *testing.T) {
	first, second := newSoftHSM(t), newSoftHSM(t)
	tok, err := Open(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), second)
	wantKind(t, err, hsm.KindModule)
	err = ProvisionSoftHSM(t.TempDir(), []byte(testPIN), "x")
	wantKind(t, err, hsm.KindModule)
	open(t, first)
	if err := tok.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestConfigurationsOneAfterTheOther(t *testing.T) {
	for range 3 {
		cfg := newSoftHSM(t)
		tok, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := tok.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMissingModuleHasAHint(t *testing.T) {
	_, err := firstExisting([]string{"/nowhere/*.so", "/etc"})
	wantKind(t, err, hsm.KindModule)
	if e, ok := err.(interface{ Hint() string }); !ok || !strings.Contains(e.Hint(), "apt install softhsm2") {
		t.Errorf("hint of %v", err)
	}
}
