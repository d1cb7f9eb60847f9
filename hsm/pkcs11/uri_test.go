package pkcs11

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
)

func TestParseURI(t *testing.T) {
	for in, want := range map[string]URI{
		"pkcs11:":            {},
		"PKCS11:token=kmsfs": {Token: "kmsfs"},
		"pkcs11:token=The%20Software%20PKCS%2311;manufacturer=Snake%20Oil,%20Inc.;model=1.0;serial=5d3d": {
			Token: "The Software PKCS#11", Manufacturer: "Snake Oil, Inc.", Model: "1.0", Serial: "5d3d"},
		"pkcs11:object=k;type=secret-key;id=%69%00%ff?pin-source=file:/etc/pin": {
			Object: "k", Type: "secret-key", ID: []byte{0x69, 0, 0xff}, PINSource: "file:/etc/pin"},
		"pkcs11:slot-id=1;library-version=3?module-path=/m.so&module-name=m&pin-value=1234&x-max-sessions=7&x-other=1": {
			SlotID: "1", ModulePath: "/m.so", ModuleName: "m", PINValue: PIN("1234"), MaxSessions: 7},
		"pkcs11:x-vendor=1;token=t": {Token: "t"},
	} {
		got, err := ParseURI(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %+v, %v", in, got, err)
		}
	}
}

func TestParseURIRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":            "",
		"another scheme":     "http:token=x",
		"no value":           "pkcs11:token",
		"empty name":         "pkcs11:=x",
		"trailing separator": "pkcs11:token=x;",
		"twice":              "pkcs11:token=x;token=y",
		"unknown in path":    "pkcs11:tokin=x",
		"query in path":      "pkcs11:pin-value=1",
		"path in query":      "pkcs11:?token=x",
		"bad escape":         "pkcs11:token=%zz",
		"cut escape":         "pkcs11:token=%4",
		"zero sessions":      "pkcs11:?x-max-sessions=0",
		"many sessions":      "pkcs11:?x-max-sessions=65536",
		"too long":           "pkcs11:token=" + strings.Repeat("x", maxURI),
	} {
		_, err := ParseURI(in)
		if !hsm.IsKind(err, hsm.KindInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestURIErrorsNeverRepeatThePIN(t *testing.T) {
	for _, in := range []string{"pkcs11:token=x?pin-value=topsecret%z", "pkcs11:token=x?pin-value=topsecret&pin-value=topsecret",
		"pkcs11:?pin-value=topsecret;x", "pkcs11:topsecret"} {
		_, err := ParseURI(in)
		if err != nil && strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%v", err)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	for _, s := range []string{"pkcs11:", "pkcs11:token=a%20b;serial=1?module-path=/x&pin-source=file:/p",
		"pkcs11:id=%00%ff;type=secret-key", "pkcs11:?x-max-sessions=3", "pkcs11:x-a=b;token=%25"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil {
			if !reflect.DeepEqual(u, URI{}) || !hsm.IsKind(err, hsm.KindInvalidArgument) {
				t.Fatalf("error %v with %+v", err, u)
			}
			return
		}
		if u.MaxSessions < 0 || u.MaxSessions > 65535 {
			t.Fatalf("%d sessions", u.MaxSessions)
		}
		if len(u.Token)+len(u.Serial)+len(u.ID)+len(u.PINValue) > len(s) {
			t.Fatal("values longer than the URI")
		}
		if again, err := ParseURI(s); err != nil || !reflect.DeepEqual(again, u) {
			t.Fatal("parsing twice differs")
		}
	})
}

func TestOpenByURI(t *testing.T) {
	cfg := newSoftHSM(t)
	module, err := FindSoftHSM()
	if err != nil {
		t.Fatal(err)
	}
	pin := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(pin, []byte(testPIN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	serial := open(t, cfg).Info().Serial
	tok := open(t, Config{SoftHSMConf: cfg.SoftHSMConf,
		URI: "pkcs11:token=kmsfs%20test;serial=" + serial + "?module-path=" + module + "&pin-source=file:" + pin + "&x-max-sessions=3"})
	if got := tok.Info(); got.Label != "kmsfs test" || got.Serial != serial {
		t.Errorf("opened %+v", got)
	}
	if n := cap(tok.(*token).conn.Load().pool.permits); n != 3 {
		t.Errorf("%d sessions, want 3", n)
	}
}

func TestSelectionErrors(t *testing.T) {
	cfg := newSoftHSM(t)
	for name, c := range map[string]struct {
		change func(*Config)
		want   hsm.Kind
	}{
		"nothing selected":    {func(c *Config) { c.TokenLabel = "" }, hsm.KindInvalidArgument},
		"no such label":       {func(c *Config) { c.TokenLabel = "other" }, hsm.KindTokenNotFound},
		"label is a prefix":   {func(c *Config) { c.TokenLabel = "kmsfs" }, hsm.KindTokenNotFound},
		"no such serial":      {func(c *Config) { c.TokenSerial = "0" }, hsm.KindTokenNotFound},
		"wrong manufacturer":  {func(c *Config) { c.URI = "pkcs11:manufacturer=x" }, hsm.KindTokenNotFound},
		"URI contradicts":     {func(c *Config) { c.URI = "pkcs11:token=other" }, hsm.KindInvalidArgument},
		"PIN in URI":          {func(c *Config) { c.URI = "pkcs11:token=kmsfs%20test?pin-value=1234" }, hsm.KindInvalidArgument},
		"PIN by command":      {func(c *Config) { c.PIN = nil; c.URI = "pkcs11:?pin-source=|cat" }, hsm.KindInvalidArgument},
		"PIN file missing":    {func(c *Config) { c.PIN = nil; c.URI = "pkcs11:?pin-source=/nowhere/pin" }, hsm.KindInvalidArgument},
		"malformed URI":       {func(c *Config) { c.URI = "pkcs12:" }, hsm.KindInvalidArgument},
		"module missing":      {func(c *Config) { c.Module = "/nowhere/lib.so" }, hsm.KindModule},
		"module by name only": {func(c *Config) { c.Module = "libsofthsm2.so" }, hsm.KindModule},
		"module isn't one":    {func(c *Config) { c.Module = "/etc/hostname" }, hsm.KindModule},
		"library but no module": {func(c *Config) {
			libs, _ := filepath.Glob("/lib/*/libdl.so.2")
			c.Module = append(libs, "/nowhere")[0]
		}, hsm.KindModule},
		"configuration missing": {func(c *Config) { c.SoftHSMConf = "/nowhere/softhsm2.conf" }, hsm.KindModule},
	} {
		t.Run(name, func(t *testing.T) {
			bad := cfg
			c.change(&bad)
			tok, err := Open(t.Context(), bad)
			wantKind(t, err, c.want)
			if tok != nil {
				t.Error("a token beside an error")
			}
			if strings.Contains(err.Error(), testPIN) {
				t.Errorf("the PIN is in %v", err)
			}
		})
	}
	open(t, cfg) // nothing of all that stays behind
}

func TestTwoTokensOfOneLabelNeedASerial(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(softHSMConfEnv, "")
	for _, label := range []string{"one", "two"} {
		if err := ProvisionSoftHSM(dir, []byte(testPIN), label); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{SoftHSMConf: SoftHSMConf(dir), PIN: PIN(testPIN), URI: "pkcs11:model=SoftHSM%20v2"}
	_, err := Open(t.Context(), cfg)
	wantKind(t, err, hsm.KindTokenNotFound)
	one := cfg
	one.TokenLabel = "one"
	first := open(t, one)
	two := Config{SoftHSMConf: cfg.SoftHSMConf, PIN: cfg.PIN, TokenLabel: "two"}
	second := open(t, two)
	id := hsm.NewKeyID()
	if err := first.GenerateKey(t.Context(), id, "x"); err != nil {
		t.Fatal(err)
	}
	if ok, err := second.HasKey(t.Context(), id); ok || err != nil {
		t.Errorf("a key is in two tokens: %v, %v", ok, err)
	}
}
