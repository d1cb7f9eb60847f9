package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func lastingMaterials(t *testing.T, open Open) {
	s := open(t)
	key := func(id string, change func(*store.Key)) store.Key {
		k := sampleKey(id)
		k.Materials[1].Import = ""
		change(&k)
		return k
	}
	put(t, s,
		key("enabled", func(*store.Key) {}),
		key("disabled", func(k *store.Key) { k.Scope, k.State = other, types.KeyStateDisabled }),
		key("deleted", func(k *store.Key) { k.State = types.KeyStatePendingDeletion }),
		key("making", func(k *store.Key) { k.Materials[1].State = store.MaterialCreating }),
		key("imported", func(k *store.Key) { k.Materials[1].Import = types.ImportStateImported }),
		key("stored", func(k *store.Key) { k.CustomKeyStoreID = "cks-a" }))
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.LastingMaterials(ctx, 10)
		equal(t, "all", all, []store.BackingID{backing("disabled", 2), backing("enabled", 2)})
		one, err2 := tx.LastingMaterials(ctx, 1)
		equal(t, "one", one, all[:1])
		return errors.Join(err, err2)
	})
}

func texts(t *testing.T, open Open) {
	s := open(t)
	for _, text := range []string{"a\x00b", "\xff", "\u2028\\ \"?$1%", "\U0010ffff"} {
		key := sampleKey("a")
		key.Description = text
		err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutKey(t.Context(), key) })
		if errors.Is(err, store.ErrText) {
			continue
		}
		got, err2 := get(t, s, scope, "a")
		if err := errors.Join(err, err2); err != nil || got.Description != text {
			t.Errorf("%q comes back as %q, %v", text, got.Description, err)
		}
	}
}
