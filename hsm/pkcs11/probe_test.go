package pkcs11

import (
	"crypto/rand"
	"slices"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/hsmtest"
)

// noDerivation makes a module one that can't derive.
func noDerivation(f *faults) {
	f.inject(rule{function: "C_DeriveKey", times: -1, rv: p11.CKR_MECHANISM_INVALID})
}

// TestLesserModulesConform runs the suite on SoftHSM with abilities taken away.
func TestLesserModulesConform(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*faults)
		check   func(hsm.Capabilities) bool
	}{
		{"NoDerivation", noDerivation, func(c hsm.Capabilities) bool {
			return c.Derivation() == hsm.DerivationNone && c.SessionCopies
		}},
		{"NoDerivationNoCopies", func(f *faults) {
			noDerivation(f)
			f.inject(rule{function: "C_CopyObject", times: -1, rv: p11.CKR_FUNCTION_NOT_SUPPORTED})
		}, func(c hsm.Capabilities) bool { return c.Derivation() == hsm.DerivationNone && !c.SessionCopies }},
		{"NoImport", func(f *faults) {
			f.inject(rule{function: "C_CreateObject", times: -1, rv: p11.CKR_FUNCTION_NOT_SUPPORTED})
		}, func(c hsm.Capabilities) bool {
			return !c.KnownAnswer && slices.Equal(c.Derivations, []hsm.Derivation{hsm.DerivationAESECB})
		}},
		{"ItsOwnIVs", func(f *faults) { f.onEncrypt = func(iv []byte) { _, _ = rand.Read(iv) } },
			func(c hsm.Capabilities) bool { return c.TokenIV }},
		{"PreciseErrors", func(f *faults) { f.onDecrypt = precise },
			func(c hsm.Capabilities) bool { return !c.AmbiguousAuthFailure }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := newSoftHSM(t)
			hsmtest.Run(t, func(t *testing.T) hsm.Token {
				tok, _, err := openFaulty(t, cfg, c.prepare)
				if err != nil {
					t.Fatal(err)
				}
				if !c.check(tok.Capabilities()) {
					t.Fatalf("probe found %+v", tok.Capabilities())
				}
				return tok
			})
		})
	}
}

func precise(err error) error {
	if isCall(err, p11.CKR_GENERAL_ERROR) {
		return callResult(fnDecrypt, p11.CKR_ENCRYPTED_DATA_INVALID)
	}
	return err
}

func TestProbeRefusesAModuleThatComputesWrongly(t *testing.T) {
	t.Run("accepts forgeries", func(t *testing.T) {
		_, _, err := openFaulty(t, newSoftHSM(t), func(f *faults) { f.onDecrypt = func(error) error { return nil } })
		wantKind(t, err, hsm.KindUnsupported)
	})
	t.Run("no AES-GCM", func(t *testing.T) {
		_, _, err := openFaulty(t, newSoftHSM(t), func(f *faults) {
			f.inject(rule{function: fnEncrypt, times: -1, rv: p11.CKR_MECHANISM_INVALID})
		})
		wantKind(t, err, hsm.KindUnsupported)
		if e, ok := err.(interface{ Hint() string }); !ok || e.Hint() == "" {
			t.Errorf("no hint with %v", err)
		}
	})
	t.Run("ignores the salt", func(t *testing.T) {
		for _, imports := range []bool{true, false} {
			tok, _, err := openFaulty(t, newSoftHSM(t), func(f *faults) {
				f.onDerive = func(_ hsm.Derivation, salt *[saltSize]byte) error { *salt = [saltSize]byte{}; return nil }
				if !imports {
					f.inject(rule{function: "C_CreateObject", times: -1, rv: p11.CKR_FUNCTION_NOT_SUPPORTED})
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if d := tok.Capabilities().Derivation(); d != hsm.DerivationNone {
				t.Errorf("imports=%v: derivation %s is believed", imports, d)
			}
			_ = tok.Close()
		}
	})
}

func TestModulesHaveTheKnownCapabilities(t *testing.T) {
	soft := open(t, newSoftHSM(t)).Capabilities()
	if soft.Derivation() != hsm.DerivationAESECB || !soft.KnownAnswer || !soft.EnforcesNonExtractable || soft.TokenIV || !soft.SessionCopies {
		t.Errorf("SoftHSM: %+v", soft)
	}
	nss := open(t, newNSS(t)).Capabilities()
	if nss.Derivation() != hsm.DerivationSP800108 || len(nss.Derivations) != 2 || !nss.KnownAnswer || nss.AmbiguousAuthFailure {
		t.Errorf("NSS: %+v", nss)
	}
	if nss.EnforcesNonExtractable {
		t.Error("NSS is known to copy non-extractable keys to extractable ones; the probe missed it")
	}
}

func TestProbeLeavesNothingBehind(t *testing.T) {
	for _, m := range modules {
		tok := open(t, m.make(t)).(*token)
		c := tok.conn.Load()
		left, err := c.api.find(c.anchor, []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY)})
		if err != nil || len(left) != 0 {
			t.Errorf("%s: %d keys left, %v", m.name, len(left), err)
		}
	}
}

func TestDirectWrappingIsLimited(t *testing.T) {
	b := newBench(t, noDerivation)
	b.direct.limit = 5
	b.direct.used[b.id] = 0
	for range 5 {
		if _, err := b.Wrap(t.Context(), b.id, b.plain, testAAD); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.Wrap(t.Context(), b.id, b.plain, testAAD)
	wantKind(t, err, hsm.KindKeyExhausted)
	if err := b.unwrap(t.Context()); err != nil {
		t.Errorf("an exhausted key no longer unwraps: %v", err)
	}
}

// TestDirectKeysSurviveAModuleThatLearnsToDerive opens with derivation a token
// whose keys were made without.
func TestDirectKeysSurviveAModuleThatLearnsToDerive(t *testing.T) {
	b := newBench(t, noDerivation)
	_ = b.token.Close()
	tok := open(t, b.cfg)
	for range 2 {
		got, err := tok.Unwrap(t.Context(), b.id, b.blob, testAAD)
		if err != nil || string(got) != string(b.plain) {
			t.Fatalf("Unwrap = %q, %v", got, err)
		}
		if b.blob, err = tok.Wrap(t.Context(), b.id, b.plain, testAAD); err != nil {
			t.Fatal(err)
		}
	}
}
