package hsmtest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
)

func testUnknownKey(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	b := wrap(t, tok, id, randomBytes(32))
	unknown := hsm.NewKeyID()
	if ok, err := tok.HasKey(t.Context(), unknown); ok || err != nil {
		t.Errorf("HasKey of an unknown key = %v, %v", ok, err)
	}
	_, err := tok.Wrap(t.Context(), unknown, testAAD, testAAD)
	wantKind(t, err, hsm.KindKeyNotFound)
	_, err = tok.Unwrap(t.Context(), unknown, b, testAAD)
	wantKind(t, err, hsm.KindKeyNotFound)
	wantKind(t, tok.DestroyKey(t.Context(), unknown), hsm.KindKeyNotFound)
	tok.Forget(unknown)
}

func testKeyExists(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	plain := randomBytes(32)
	b := wrap(t, tok, id, plain)
	wantKind(t, tok.GenerateKey(t.Context(), id, "again"), hsm.KindKeyExists)
	tok.Forget(id)
	mustUnwrap(t, tok, id, b, plain)
}

func testDestroy(t *testing.T, open Open) {
	tok := open.opened(t)
	id, other := newKey(t, tok), newKey(t, tok)
	plain := randomBytes(32)
	b, kept := wrap(t, tok, id, plain), wrap(t, tok, other, plain)
	if ok, err := tok.HasKey(t.Context(), id); !ok || err != nil {
		t.Fatalf("HasKey = %v, %v", ok, err)
	}
	if err := tok.DestroyKey(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if ok, err := tok.HasKey(t.Context(), id); ok || err != nil {
		t.Fatalf("HasKey of a destroyed key = %v, %v", ok, err)
	}
	_, err := tok.Unwrap(t.Context(), id, b, testAAD)
	wantKind(t, err, hsm.KindKeyNotFound)
	_, err = tok.Wrap(t.Context(), id, plain, testAAD)
	wantKind(t, err, hsm.KindKeyNotFound)
	wantKind(t, tok.DestroyKey(t.Context(), id), hsm.KindKeyNotFound)
	mustUnwrap(t, tok, other, kept, plain)
}

// testDestroyInUse has users of a key see it work or see it gone, nothing else,
// and never work after DestroyKey returned.
func testDestroyInUse(t *testing.T, open Open) {
	tok := open.opened(t)
	for range 5 {
		id := newKey(t, tok)
		plain := randomBytes(32)
		b := wrap(t, tok, id, plain)
		var gone atomic.Bool
		var users sync.WaitGroup
		for range 8 {
			users.Go(func() { useUntilGone(t, tok, id, b, plain, &gone) })
		}
		if err := tok.DestroyKey(t.Context(), id); err != nil {
			t.Error(err)
		}
		gone.Store(true)
		users.Wait()
	}
}

func useUntilGone(t *testing.T, tok hsm.Token, id hsm.KeyID, b, plain []byte, gone *atomic.Bool) {
	for {
		was := gone.Load()
		got, err := tok.Unwrap(t.Context(), id, b, testAAD)
		switch {
		case hsm.IsKind(err, hsm.KindKeyNotFound):
			return
		case err != nil:
			t.Errorf("key destroyed in use: %v", err)
			return
		case !bytes.Equal(got, plain):
			t.Error("key destroyed in use: another plaintext")
			return
		case was:
			t.Error("the key worked after DestroyKey had returned")
			return
		}
	}
}

func testForget(t *testing.T, open Open) {
	tok := open.opened(t)
	id := newKey(t, tok)
	plain := randomBytes(32)
	b := wrap(t, tok, id, plain)
	for range 20 {
		tok.Forget(id)
		mustUnwrap(t, tok, id, b, plain)
		mustUnwrap(t, tok, id, wrap(t, tok, id, plain), plain)
	}
}

func testForgetDestroyed(t *testing.T, open Open) {
	tok, other := open.opened(t), open.opened(t)
	id := newKey(t, tok)
	b := wrap(t, tok, id, randomBytes(32))
	if err := other.DestroyKey(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	tok.Forget(id)
	_, err := tok.Unwrap(t.Context(), id, b, testAAD)
	wantKind(t, err, hsm.KindKeyNotFound)
	_, err = tok.Wrap(t.Context(), id, testAAD, testAAD)
	wantKind(t, err, hsm.KindKeyNotFound)
}

func testConcurrency(t *testing.T, open Open) {
	tok := open.opened(t)
	var ids [3]hsm.KeyID
	for i := range ids {
		ids[i] = newKey(t, tok)
	}
	rounds := 150
	if testing.Short() {
		rounds = 40
	}
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for i := range rounds {
				if err := mixedWork(t.Context(), tok, ids[(w+i)%len(ids)], w, i); err != nil {
					t.Errorf("goroutine %d, round %d: %v", w, i, err)
					return
				}
			}
		})
	}
	workers.Wait()
}

// mixedWork is one round of a goroutine: wrap, unwrap, sometimes a forgery, random
// bytes or Forget.
func mixedWork(ctx context.Context, tok hsm.Token, id hsm.KeyID, worker, round int) error {
	plain := randomBytes(32)
	b, err := tok.Wrap(ctx, id, plain, testAAD)
	if err != nil {
		return err
	}
	got, err := tok.Unwrap(ctx, id, b, testAAD)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, plain) {
		return errors.New("another plaintext")
	}
	switch round % 5 {
	case worker % 5:
		tok.Forget(id)
	case (worker + 1) % 5:
		b[len(b)-1] ^= 1
		if _, err := tok.Unwrap(ctx, id, b, testAAD); !hsm.IsKind(err, hsm.KindInvalidCiphertext) {
			return errors.Join(errors.New("a forged blob is not refused"), err)
		}
	case (worker + 2) % 5:
		return tok.Random(ctx, plain)
	}
	return nil
}
