package hsmtest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
)

func testRandom(t *testing.T, open Open) {
	tok := open.opened(t)
	for _, n := range []int{0, 1, 32, 100_000, 2 << 20} {
		p := make([]byte, n)
		if err := tok.Random(t.Context(), p); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		// 64 equal bytes in a row have a chance of 2^-500 anywhere in the buffer.
		for i := 0; i+64 <= n; i += 64 {
			if bytes.Equal(p[i:i+64], make([]byte, 64)) {
				t.Fatalf("%d bytes: not filled at %d", n, i)
			}
		}
	}
	a, b := make([]byte, 32), make([]byte, 32)
	if err := errors.Join(tok.Random(t.Context(), a), tok.Random(t.Context(), b)); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a, b) {
		t.Fatal("the same random bytes came twice")
	}
}

// calls makes every call that takes a context.
func calls(ctx context.Context, tok hsm.Token, id hsm.KeyID, blob []byte) map[string]error {
	_, has := tok.HasKey(ctx, id)
	_, wrapped := tok.Wrap(ctx, id, testAAD, testAAD)
	_, unwrapped := tok.Unwrap(ctx, id, blob, testAAD)
	return map[string]error{
		"GenerateKey": tok.GenerateKey(ctx, hsm.NewKeyID(), "hsmtest"),
		"HasKey":      has,
		"Wrap":        wrapped,
		"Unwrap":      unwrapped,
		"Random":      tok.Random(ctx, make([]byte, 8)),
		"DestroyKey":  tok.DestroyKey(ctx, id),
	}
}

func testContext(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	plain := randomBytes(32)
	b := wrap(t, tok, id, plain)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for _, ctx := range []context.Context{canceled, expired} {
		for name, err := range calls(ctx, tok, id, b) {
			if !hsm.IsKind(err, hsm.KindCanceled) || !errors.Is(err, ctx.Err()) {
				t.Errorf("%s with %v: %v", name, ctx.Err(), err)
			}
		}
	}
	mustUnwrap(t, tok, id, b, plain)
}

func testClosed(t *testing.T, open Open) {
	keeper := open.opened(t)
	id := newKey(t, keeper)
	tok := open(t)
	b := wrap(t, tok, id, randomBytes(32))
	for range 2 {
		if err := tok.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, err := range calls(t.Context(), tok, id, b) {
		if !hsm.IsKind(err, hsm.KindClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tok.Forget(id)
	if ok, err := keeper.HasKey(t.Context(), id); !ok || err != nil {
		t.Errorf("closing one token disturbed another: %v, %v", ok, err)
	}
}

func testReopen(t *testing.T, open Open) {
	plain := randomBytes(32)
	first := open(t)
	id := hsm.NewKeyID()
	if err := first.GenerateKey(t.Context(), id, "hsmtest reopen"); err != nil {
		t.Fatal(err)
	}
	b := wrap(t, first, id, plain)
	info := first.Info()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open.opened(t)
	if got := second.Info(); got != info {
		t.Errorf("reopened token is %+v, was %+v", got, info)
	}
	mustUnwrap(t, second, id, b, plain)
	if err := second.DestroyKey(t.Context(), id); err != nil {
		t.Error(err)
	}
}
