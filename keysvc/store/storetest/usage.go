package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

// usedAt is a use of a key.
func usedAt(id, event string, at time.Time) store.Usage {
	return store.Usage{KeyRef: store.KeyRef{Scope: scope, ID: id}, Operation: "Decrypt", At: at, RequestID: "r" + event, EventID: event}
}

func usage(t *testing.T, open Open) {
	one, two := open(t), open(t)
	put(t, one, sampleKey("a"), sampleKey("b"))
	lastUse := func(id string) (u store.Usage, err error) {
		view(t, two, func(ctx context.Context, tx store.Tx) error {
			u, err = tx.Usage(ctx, scope, id)
			return nil
		})
		return u, err
	}
	record := func(s store.Store, uses ...store.Usage) {
		t.Helper()
		if err := s.RecordUsage(t.Context(), uses); err != nil {
			t.Fatal(err)
		}
	}
	late := usedAt("a", "late", born.Add(time.Millisecond))
	record(one, late, usedAt("gone", "x", born))
	record(two, usedAt("a", "early", born), usedAt("b", "first", born))
	if got, err := lastUse("a"); err != nil || got != late {
		t.Errorf("last use: %+v, %v", got, err)
	}
	same := usedAt("b", "second", born)
	record(one, same)
	if got, err := lastUse("b"); err != nil || got != same {
		t.Errorf("of two uses at one time the last recorded counts: %+v, %v", got, err)
	}
	if _, err := lastUse("gone"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("use of a key that isn't there: %v", err)
	}
	put(t, one, sampleKey("a")) // which doesn't touch it
	if got, err := lastUse("a"); err != nil || got != late {
		t.Errorf("after the key was changed: %+v, %v", got, err)
	}
	update(t, one, func(ctx context.Context, tx store.Tx) error { return tx.DeleteKey(ctx, scope, "a") })
	if _, err := lastUse("a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("use of a deleted key: %v", err)
	}
	usageKeepsGeneration(t, one, two)
}

func usageKeepsGeneration(t *testing.T, one, two store.Store) {
	since := func(s store.Store) (at time.Time) {
		view(t, s, func(ctx context.Context, tx store.Tx) (err error) {
			at, err = tx.UsageSince(ctx)
			return err
		})
		return at
	}
	if at := since(one); at.IsZero() || time.Since(at) > time.Hour || !at.Equal(since(two)) {
		t.Errorf("recorded since %v, %v", at, since(two))
	}
	stored := func() (generation uint64) {
		view(t, one, func(_ context.Context, tx store.Tx) error {
			generation = tx.Generation()
			return nil
		})
		return generation
	}
	before := stored()
	var group sync.WaitGroup
	for i, s := range []store.Store{one, two} {
		group.Go(func() {
			for n := range 20 {
				if err := s.RecordUsage(t.Context(), []store.Usage{usedAt("b", "e", born.Add(time.Duration(2*n+i)*time.Second))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	view(t, one, func(ctx context.Context, tx store.Tx) error {
		got, err := tx.Usage(ctx, scope, "b")
		equal(t, "newest of two processes' uses", got, usedAt("b", "e", born.Add(39*time.Second)))
		return err
	})
	if after := stored(); after != before {
		t.Errorf("generation %d before, %d after", before, after)
	}
}
