package pkcs11

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestPINPrintsRedacted(t *testing.T) {
	pin := PIN("topsecret")
	cfg := Config{TokenLabel: "x", PIN: pin}
	js, err := json.Marshal(cfg.PIN)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "pin", pin, "config", cfg)
	for _, s := range []string{
		fmt.Sprint(pin), fmt.Sprintf("%s %v %x %q %d %#v", pin, pin, pin, pin, pin, pin), fmt.Sprintf("%+v %#v", cfg, cfg),
		string(js), logged.String(),
	} {
		if !strings.Contains(s, redacted) || strings.Contains(s, "topsecret") || strings.Contains(s, fmt.Sprintf("%x", "topsecret")) {
			t.Errorf("printed %s", s)
		}
	}
}

func TestSessionsObeyTheTokensLimit(t *testing.T) {
	for _, c := range []struct {
		config int
		limit  uint
		want   int
	}{{5, 0, 5}, {5, 3, 2}, {5, 100, 5}, {5, 1, 5}, {1, 2, 1}, {5, ^uint(0), 5}} {
		if got := (Config{MaxSessions: c.config}).sessions(c.limit); got != c.want {
			t.Errorf("%d of %d = %d, want %d", c.config, c.limit, got, c.want)
		}
	}
	if got := (Config{}).sessions(0); got < 8 {
		t.Errorf("default is %d", got)
	}
}

func TestCloseWipesThePIN(t *testing.T) {
	cfg := newSoftHSM(t)
	tok := open(t, cfg).(*token)
	if err := tok.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tok.pin, make([]byte, len(testPIN))) {
		t.Error("the PIN is still there")
	}
	if string(cfg.PIN) != testPIN {
		t.Error("the caller's PIN was wiped")
	}
}
