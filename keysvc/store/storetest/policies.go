package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

func policies(t *testing.T, open Open) {
	s := open(t)
	there := sampleKey("a")
	there.Scope = other
	put(t, s, sampleKey("a"), sampleKey("b"), there)
	want := "{\n\t\"Sid\": \"Schl\u00fcssel 'x'\"\r\n}"
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.PutPolicy(ctx, scope, "a", "{}"), tx.PutPolicy(ctx, scope, "a", want), tx.PutPolicy(ctx, scope, "b", "{}"))
	})
	put(t, s, sampleKey("a")) // which doesn't touch it
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		got, err := tx.Policy(ctx, scope, "a")
		equal(t, "policy", got, want)
		if _, none := tx.Policy(ctx, other, "a"); !errors.Is(none, store.ErrNotFound) {
			t.Errorf("no policy gives %v", none)
		}
		return err
	})
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutPolicy(t.Context(), scope, "c", "{}") }); err == nil {
		t.Error("a policy of no key was stored")
	}
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		if err := tx.DeleteKey(ctx, scope, "a"); err != nil {
			return err
		}
		if left, err := tx.Policy(ctx, scope, "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("left over: %q, %v", left, err)
		}
		return nil
	})
}
