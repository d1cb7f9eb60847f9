package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

// readGeneration is the generation of the state that a view reads.
func readGeneration(t *testing.T, s store.Store) (g uint64) {
	t.Helper()
	view(t, s, func(_ context.Context, tx store.Tx) error { g = tx.Generation(); return nil })
	return g
}

// within waits until something is so, or fails.
func within(t *testing.T, lag time.Duration, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(lag); !so(); time.Sleep(time.Millisecond) {
		if !time.Now().Before(deadline) {
			t.Fatalf("not within %v: %s", lag, what)
		}
	}
}

func generation(t *testing.T, lag time.Duration, open Open) {
	writer, reader := open(t), open(t)
	for i := range 20 {
		before, beforeThere := readGeneration(t, writer), readGeneration(t, reader)
		put(t, writer, sampleKey(fmt.Sprint("k", i)))
		if writer.Generation() == before {
			t.Fatalf("update %d left generation %d where it was made", i, before)
		}
		within(t, lag, "the update is noticed", func() bool { return reader.Generation() != beforeThere })
		for _, s := range []store.Store{writer, reader} {
			now := readGeneration(t, s)
			within(t, lag, "the state that is read is the newest", func() bool { return s.Generation() == now })
		}
		if _, err := get(t, reader, scope, fmt.Sprint("k", i)); err != nil {
			t.Fatal(err)
		}
		writer, reader = reader, writer
	}
}

func concurrency(t *testing.T, open Open) {
	stores := []store.Store{open(t), open(t)}
	put(t, stores[0], sampleKey("a"))
	const workers, rounds = 8, 5
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for range rounds {
				err := stores[w%len(stores)].Update(t.Context(), func(tx store.Tx) error {
					key, err := tx.Key(t.Context(), scope, "a")
					if err != nil {
						return err
					}
					key.DeletionWindowDays++
					return tx.PutKey(t.Context(), key)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	got, err := get(t, stores[1], scope, "a")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "counted updates", got.DeletionWindowDays, sampleKey("a").DeletionWindowDays+workers*rounds)
}

func sameAlias(t *testing.T, open Open) {
	stores := []store.Store{open(t), open(t)}
	const workers, names = 8, 5
	var made atomic.Int32
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for n := range names {
				key := sampleKey(fmt.Sprint("key", w, "-", n))
				err := stores[w%len(stores)].Update(t.Context(), func(tx store.Tx) error {
					if err := tx.PutKey(t.Context(), key); err != nil {
						return err
					}
					return tx.CreateAlias(t.Context(), scope, store.Alias{Name: fmt.Sprint("alias/", n), KeyID: key.ID})
				})
				switch {
				case err == nil:
					made.Add(1)
				case !errors.Is(err, store.ErrExists):
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	view(t, stores[0], func(ctx context.Context, tx store.Tx) error {
		keys, err := tx.KeyIDs(ctx, scope, "", 100)
		aliases, err2 := tx.Aliases(ctx, scope, "", "", 100)
		if made.Load() != names || len(keys) != names || len(aliases) != names {
			t.Errorf("%d updates succeeded and left %d keys and %d aliases, want %d of each", made.Load(), len(keys), len(aliases), names)
		}
		return errors.Join(err, err2)
	})
}

func byteOrder(t *testing.T, open Open) {
	s := open(t)
	put(t, s, sampleKey("a"))
	names := []string{"alias/a", "alias/B", "alias/_", "alias/-b", "alias/é", "alias/a/b", "alias/ab", "alias/Z"}
	update(t, s, func(ctx context.Context, tx store.Tx) (err error) {
		for _, name := range names {
			err = errors.Join(err, tx.CreateAlias(ctx, scope, store.Alias{Name: name, KeyID: "a"}),
				tx.PutTag(ctx, scope, "a", store.Tag{Key: name}))
		}
		return err
	})
	slices.Sort(names)
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		var listed, tagged []string
		aliases, err := tx.Aliases(ctx, scope, "", names[0], 100)
		for _, a := range aliases {
			listed = append(listed, a.Name)
		}
		equal(t, "aliases behind the first", listed, names[1:])
		tags, err2 := tx.Tags(ctx, scope, "a")
		for _, tag := range tags {
			tagged = append(tagged, tag.Key)
		}
		equal(t, "tags", tagged, names)
		return errors.Join(err, err2)
	})
}

// oneStatePerGeneration reads while others write: the same generation must always come with the same
// content, since caches rely on it.
func oneStatePerGeneration(t *testing.T, open Open) {
	stores := []store.Store{open(t), open(t)}
	put(t, stores[0], sampleKey("a"))
	done := make(chan struct{})
	var writers, readers sync.WaitGroup
	for _, s := range stores {
		writers.Go(func() {
			for range 15 {
				if err := s.Update(t.Context(), countRotationPeriod(t)); err != nil {
					t.Error(err)
				}
			}
		})
		readers.Go(func() {
			states := map[uint64]int32{}
			for ended := false; !ended; {
				select {
				case <-done:
					ended = true
				default:
				}
				err := s.View(t.Context(), func(tx store.Tx) error {
					key, err := tx.Key(t.Context(), scope, "a")
					if known, ok := states[tx.Generation()]; ok && known != key.RotationPeriodDays {
						t.Errorf("generation %d has %d and %d", tx.Generation(), known, key.RotationPeriodDays)
					}
					states[tx.Generation()] = key.RotationPeriodDays
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
}

func countRotationPeriod(t *testing.T) func(store.Tx) error {
	return func(tx store.Tx) error {
		key, err := tx.Key(t.Context(), scope, "a")
		if err != nil {
			return err
		}
		key.RotationPeriodDays++
		return tx.PutKey(t.Context(), key)
	}
}
