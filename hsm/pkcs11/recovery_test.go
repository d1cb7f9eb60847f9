package pkcs11

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// TestEveryFailureClassHasItsCure injects one failure of each return value that
// has a cure, on the fast and on the careful path, and checks that the call
// succeeds and by which cure.
func TestEveryFailureClassHasItsCure(t *testing.T) {
	type cured struct{ opens, finds, logins, inits int }
	oneOf := map[class]cured{
		classSession: {opens: 1},
		classStale:   {finds: 1},
		classPolicy:  {finds: 1},
		classLogin:   {opens: 2, finds: 1, logins: 1},
		classFatal:   {opens: 2, finds: 1, logins: 1, inits: 1},
		classGone:    {opens: 2, finds: 1, logins: 1, inits: 1},
	}
	for rv, cl := range classes {
		want, ok := oneOf[cl]
		if !ok || rv == p11.CKR_GENERAL_ERROR {
			continue
		}
		t.Run(p11.Error(rv).Error(), func(t *testing.T) {
			b := newBench(t, nil)
			b.local = false
			b.f.inject(rule{function: fnDecrypt, times: 1, rv: rv})
			if err := b.unwrap(t.Context()); err != nil {
				t.Fatal(err)
			}
			if cl == classStale || cl == classPolicy {
				want.opens = 1 // the session isn't trusted either
			}
			got := cured{b.f.count("C_OpenSession"), b.f.count("C_FindObjects"), b.f.count("C_Login"), b.f.count("C_Initialize")}
			if got != want {
				t.Errorf("cured by %+v, want %+v", got, want)
			}
			b.local = true
			b.f.inject(rule{function: fnDecrypt, times: 1, rv: rv})
			if err := b.unwrap(t.Context()); err != nil {
				t.Errorf("on the fast path: %v", err)
			}
		})
	}
}

func TestAFailureThatStaysIsReportedAfterOneCure(t *testing.T) {
	for rv, want := range map[uint]hsm.Kind{
		p11.CKR_SESSION_HANDLE_INVALID:     hsm.KindUnavailable,
		p11.CKR_OBJECT_HANDLE_INVALID:      hsm.KindInternal,
		p11.CKR_KEY_FUNCTION_NOT_PERMITTED: hsm.KindInternal,
		p11.CKR_USER_NOT_LOGGED_IN:         hsm.KindUnavailable,
		p11.CKR_DEVICE_ERROR:               hsm.KindUnavailable,
		p11.CKR_FUNCTION_NOT_SUPPORTED:     hsm.KindInternal,
	} {
		b := newBench(t, nil)
		b.local = false
		b.f.inject(rule{function: fnDecrypt, times: -1, rv: rv})
		wantKind(t, b.unwrap(t.Context()), want)
		if n := b.f.count(fnDecrypt); n > 2 {
			t.Errorf("%#x: tried %d times", rv, n)
		}
		b.f.heal()
		b.breaker.succeed() // its pauses are tested elsewhere
		if err := b.unwrap(t.Context()); err != nil {
			t.Errorf("%#x: after the fault is gone: %v", rv, err)
		}
		_ = b.Close()
	}
}

func TestRestartsOfABrokenModuleArePaced(t *testing.T) {
	b := newBench(t, nil)
	now := time.Now()
	b.now = func() time.Time { return now }
	b.f.inject(rule{function: "C_Initialize", times: -1, rv: p11.CKR_GENERAL_ERROR})
	b.f.inject(rule{function: fnDecrypt, times: -1, rv: p11.CKR_DEVICE_ERROR})
	for range 50 {
		wantKind(t, b.unwrap(t.Context()), hsm.KindUnavailable)
	}
	if n := b.f.count("C_Initialize"); n != 1 {
		t.Fatalf("initialised %d times without a pause", n)
	}
	for range 3 {
		now = now.Add(longPause)
		wantKind(t, b.unwrap(t.Context()), hsm.KindUnavailable)
	}
	if n := b.f.count("C_Initialize"); n != 4 {
		t.Errorf("initialised %d times after 3 pauses, want 4", n)
	}
	b.f.heal()
	now = now.Add(longPause)
	if err := b.unwrap(t.Context()); err != nil {
		t.Fatalf("after the fault is gone: %v", err)
	}
}

// TestRealLossesAreCured takes away what the token stands on, by the real module.
func TestRealLossesAreCured(t *testing.T) {
	for name, take := range map[string]func(*token, *p11.Ctx) error{
		"logged out":        func(b *token, ctx *p11.Ctx) error { return ctx.Logout(p11.SessionHandle(b.conn.Load().anchor)) },
		"anchor closed":     func(b *token, ctx *p11.Ctx) error { return ctx.CloseSession(p11.SessionHandle(b.conn.Load().anchor)) },
		"module finalised":  func(_ *token, ctx *p11.Ctx) error { return ctx.Finalize() },
		"module restarted":  func(_ *token, ctx *p11.Ctx) error { _ = ctx.Finalize(); return ctx.Initialize() },
		"sub-key destroyed": destroySubKeys,
	} {
		for _, m := range modules {
			t.Run(name+" on "+m.name, func(t *testing.T) {
				tok := open(t, m.make(t)).(*token)
				id := hsm.NewKeyID()
				if err := tok.GenerateKey(t.Context(), id, name); err != nil {
					t.Fatal(err)
				}
				b, err := tok.Wrap(t.Context(), id, []byte("plain"), testAAD)
				if err != nil {
					t.Fatal(err)
				}
				if name == "module restarted" && m.name == "NSS" {
					t.Skip("NSS restarted without its arguments is another token")
				}
				if err := take(tok, tok.mod.api.(*native).ctx); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					got, err := tok.Unwrap(t.Context(), id, b, testAAD)
					if err != nil || string(got) != "plain" {
						t.Fatalf("Unwrap = %q, %v", got, err)
					}
					if _, err := tok.Wrap(t.Context(), id, []byte("plain"), testAAD); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

func destroySubKeys(tok *token, ctx *p11.Ctx) error {
	c := tok.conn.Load()
	for _, s := range c.keys.subs {
		if err := ctx.DestroyObject(p11.SessionHandle(c.anchor), p11.ObjectHandle(s.handle)); err != nil {
			return err
		}
	}
	return nil
}

func TestRecoveryUnderLoad(t *testing.T) {
	b := newBench(t, nil)
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := b.unwrap(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, rv := range []uint{p11.CKR_DEVICE_ERROR, p11.CKR_USER_NOT_LOGGED_IN, p11.CKR_SESSION_HANDLE_INVALID, p11.CKR_OBJECT_HANDLE_INVALID} {
		b.f.inject(rule{function: fnDecrypt, times: 1, rv: rv})
		time.Sleep(30 * time.Millisecond)
		b.Forget(b.id)
	}
	close(stop)
	workers.Wait()
}

func TestASessionThatFailedIsNotUsedAgain(t *testing.T) {
	b := newBench(t, nil)
	b.local = false
	b.f.inject(rule{function: "C_GenerateRandom", times: 1, rv: p11.CKR_OPERATION_ACTIVE})
	if err := b.Random(t.Context(), make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if b.f.count("C_CloseSession") != 1 {
		t.Errorf("closed %d sessions, want 1", b.f.count("C_CloseSession"))
	}
}

func TestSessionLimitShrinksThePool(t *testing.T) {
	b := newBench(t, nil)
	b.local = false
	b.f.inject(rule{function: "C_OpenSession", skip: 1, times: -1, rv: p11.CKR_SESSION_COUNT})
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for range 20 {
				if err := b.unwrap(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	if b.conn.Load().pool.out != 0 {
		t.Error("sessions are missing from the pool")
	}
}

func TestNoSessionAtAllIsUnavailable(t *testing.T) {
	b := newBench(t, nil)
	b.local = false
	b.f.inject(rule{function: "C_GenerateRandom", times: 1, rv: p11.CKR_SESSION_CLOSED})
	b.f.inject(rule{function: "C_OpenSession", times: -1, rv: p11.CKR_SESSION_COUNT})
	wantKind(t, b.Random(t.Context(), make([]byte, 8)), hsm.KindUnavailable)
	b.f.heal()
	if err := b.unwrap(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestALostAnswerIsNotAFailure(t *testing.T) {
	b := newBench(t, nil)
	id := hsm.NewKeyID()
	b.f.inject(rule{function: "C_GenerateKey", times: 1, rv: p11.CKR_DEVICE_ERROR, lost: true})
	if err := b.GenerateKey(t.Context(), id, "lost"); err != nil {
		t.Errorf("GenerateKey: %v", err)
	}
	b.breaker.succeed()
	if _, err := b.Wrap(t.Context(), id, b.plain, testAAD); err != nil {
		t.Errorf("the key is there twice, or not at all: %v", err)
	}
	b.breaker.succeed()
	b.f.inject(rule{function: "C_FindObjects", times: 1, skip: 0, rv: p11.CKR_OK}) // counts only
	if err := b.destroyLosingTheAnswer(t.Context(), id); err != nil {
		t.Errorf("DestroyKey: %v", err)
	}
	if ok, err := b.HasKey(t.Context(), id); ok || err != nil {
		t.Errorf("HasKey after DestroyKey = %v, %v", ok, err)
	}
}

// destroyLosingTheAnswer waits for the background to be done with its own
// destroying first.
func (b *bench) destroyLosingTheAnswer(ctx context.Context, id hsm.KeyID) error {
	for b.collecting.Load() {
		time.Sleep(time.Millisecond)
	}
	b.f.inject(rule{function: "C_DestroyObject", times: 1, rv: p11.CKR_DEVICE_ERROR, lost: true})
	return b.DestroyKey(ctx, id)
}

func TestForgedAndBrokenAreToldApart(t *testing.T) {
	b := newBench(t, nil)
	forged := append([]byte(nil), b.blob...)
	forged[len(forged)-1] ^= 1
	for range 3 {
		_, err := b.Unwrap(t.Context(), b.id, forged, testAAD)
		wantKind(t, err, hsm.KindInvalidCiphertext)
	}
	if n := b.f.count("C_Initialize"); n != 0 {
		t.Fatalf("a forged blob restarted the module %d times", n)
	}
	if n := b.f.count(fnEncrypt); n != 1 {
		t.Errorf("the canary was made %d times", n)
	}
	// From here on nothing decrypts. The last canary is old enough not to count.
	later := time.Now().Add(2 * canaryTrust)
	b.now = func() time.Time { return later }
	b.f.inject(rule{function: fnDecrypt, times: -1, rv: p11.CKR_GENERAL_ERROR})
	wantKind(t, b.unwrap(t.Context()), hsm.KindUnavailable)
	if n := b.f.count("C_Initialize"); n != 1 {
		t.Errorf("a broken module was restarted %d times, want 1", n)
	}
}

func TestAPassingGeneralErrorIsNotAForgery(t *testing.T) {
	for _, local := range []bool{true, false} {
		b := newBench(t, nil)
		b.local = local
		b.f.inject(rule{function: fnDecrypt, times: 1, rv: p11.CKR_GENERAL_ERROR})
		if err := b.unwrap(t.Context()); err != nil {
			t.Errorf("local=%v: %v", local, err)
		}
		_ = b.Close()
	}
}

func TestTwoTokensShareARestart(t *testing.T) {
	b := newBench(t, nil)
	b.local = false
	second := open(t, b.cfg)
	b.f.inject(rule{function: fnDecrypt, times: 1, rv: p11.CKR_DEVICE_REMOVED})
	if err := b.unwrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := second.Unwrap(t.Context(), b.id, b.blob, testAAD); err != nil {
			t.Fatal(fmt.Errorf("second token, call %d: %w", i, err))
		}
	}
	if n := b.f.count("C_Initialize"); n != 1 {
		t.Errorf("initialised %d times, want 1", n)
	}
}

func TestTokenThatIsMissedForAMomentIsFound(t *testing.T) {
	b := newBench(t, nil)
	b.local = false
	b.f.inject(rule{function: fnDecrypt, times: 1, rv: p11.CKR_TOKEN_NOT_PRESENT})
	b.f.inject(rule{function: "C_Initialize", times: 2, rv: p11.CKR_GENERAL_ERROR})
	if err := b.unwrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := b.f.count("C_Initialize"); n != 3 {
		t.Errorf("initialised %d times, want 3", n)
	}
}
