package pkcs11

import (
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

func TestWrongPINIsTriedOnce(t *testing.T) {
	for _, m := range modules {
		cfg := m.make(t)
		cfg.PIN = PIN("wrong")
		_, f, err := openFaulty(t, cfg, nil)
		wantKind(t, err, hsm.KindPIN)
		if n := f.count("C_Login"); n != 1 {
			t.Errorf("%s: logged in %d times", m.name, n)
		}
		var e interface{ Hint() string }
		if !asHint(err, &e) || e.Hint() == "" {
			t.Errorf("%s: no hint", m.name)
		}
		cfg.PIN = PIN(testPIN)
		if _, _, err := openFaulty(t, cfg, nil); err != nil {
			t.Errorf("%s: with the right PIN: %v", m.name, err)
		}
	}
}

func TestRefusedPINIsLatched(t *testing.T) {
	b := newBench(t, nil)
	b.f.inject(rule{function: "C_Login", times: 1, rv: p11.CKR_PIN_INCORRECT})
	b.conn.Load().broken.Store(true)
	for range 5 {
		wantKind(t, b.unwrap(t.Context()), hsm.KindPIN)
	}
	if n := b.f.count("C_Login"); n != 1 {
		t.Errorf("logged in %d times with a refused PIN", n)
	}
}

func asHint(err error, target *interface{ Hint() string }) bool {
	e, ok := err.(interface{ Hint() string })
	*target = e
	return ok
}
