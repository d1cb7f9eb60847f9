package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Open opens an empty store the first time and the same store again when called
// again, as another process would.
type Open func(t *testing.T) store.Store

// Run runs the suite. newStore returns an Open for a store of its own. lag is how long an update may take
// to be noticed through another open store than the one that made it.
func Run(t *testing.T, lag time.Duration, newStore func(t *testing.T) Open) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"a key comes back as it was stored", keyRoundTrip},
		{"putting a key again replaces it and its materials", keyReplaced},
		{"a key is found by its backing key", keyOfMaterial},
		{"scopes do not see each other", scopes},
		{"keys are listed in order and in pages", keyPages},
		{"deleting a key removes all that hangs on it", deleteKey},
		{"aliases are unique and can be moved", aliases},
		{"a key policy is replaced and goes with its key", policies},
		{"the newest use of a key is kept, and nobody's cache is emptied", usage},
		{"grants are filtered and come back as stored", grants},
		{"tags are replaced and removed", tags},
		{"keys with work due are found", dueKeys},
		{"custom key stores come back as they were stored", keyStores},
		{"keys know their custom key store, which stays while it has any", keysInStores},
		{"wrapping keys come back and expire", imports},
		{"related keys and shared materials are counted", related},
		{"materials that the token must have are found", lastingMaterials},
		{"a text is kept whole or refused", texts},
		{"an update that fails changes nothing", rollback},
		{"a view cannot write", viewIsReadOnly},
		{"a change is noticed through every open store", func(t *testing.T, open Open) { generation(t, lag, open) }},
		{"concurrent updates do not lose each other", concurrency},
		{"one of many who make the same alias gets it", sameAlias},
		{"lists have the order of bytes", byteOrder},
		{"a generation names one state", oneStatePerGeneration},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newStore(t)) })
	}
}

var (
	scope = store.Scope{Account: "111122223333", Region: "us-east-1"}
	other = store.Scope{Account: "111122223333", Region: "eu-west-1"}
	born  = time.UnixMilli(1700000000123).UTC()
)

func sampleKey(id string) store.Key {
	return store.Key{
		Scope: scope, ID: id, Description: "Gehäuse ☃ 'quoted'", Manager: types.KeyManagerTypeCustomer,
		Spec: types.KeySpecSymmetricDefault, Usage: types.KeyUsageTypeEncryptDecrypt, Origin: types.OriginTypeAwsKms,
		State: types.KeyStateEnabled, MultiRegion: true, PrimaryRegion: "eu-west-1", Created: born,
		DeletionDate: born.Add(time.Hour), DeletionWindowDays: 7,
		RotationPeriodDays: 90, NextRotation: born.Add(90 * 24 * time.Hour),
		Materials: []store.Material{
			{Backing: backing(id, 1), Number: 1, State: store.MaterialNonCurrent, Created: born},
			{Backing: backing(id, 2), Number: 2, State: store.MaterialCurrent, Created: born, Rotation: types.RotationTypeOnDemand, Rotated: born.Add(time.Minute),
				Import: types.ImportStateImported, Check: []byte{1, 2, 3}, Expires: born.Add(1000 * time.Hour), Description: "from outside"},
		},
	}
}

func backing(id string, n byte) (b store.BackingID) {
	copy(b[:], id)
	b[15] = n
	return b
}

func update(t *testing.T, s store.Store, fn func(ctx context.Context, tx store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx store.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, s store.Store, fn func(ctx context.Context, tx store.Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), func(tx store.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, s store.Store, keys ...store.Key) {
	t.Helper()
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		for _, k := range keys {
			if err := tx.PutKey(ctx, k); err != nil {
				return err
			}
		}
		return nil
	})
}

func get(t *testing.T, s store.Store, sc store.Scope, id string) (key store.Key, err error) {
	t.Helper()
	err = s.View(t.Context(), func(tx store.Tx) error {
		key, err = tx.Key(t.Context(), sc, id)
		return err
	})
	return key, err
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func keyRoundTrip(t *testing.T, open Open) {
	s := open(t)
	want := sampleKey("a")
	put(t, s, want)
	got, err := get(t, s, scope, "a")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "key", got, want)
	if _, err := get(t, s, scope, "b"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("an unknown key gives %v", err)
	}
}

func keyReplaced(t *testing.T, open Open) {
	s := open(t)
	key := sampleKey("a")
	put(t, s, key)
	key.State, key.DeletionDate, key.DeletionWindowDays = types.KeyStateDisabled, time.Time{}, 0
	key.RotationPeriodDays, key.NextRotation = 0, time.Time{}
	key.Description, key.Manager, key.MultiRegion = "", types.KeyManagerTypeAws, false
	key.Spec, key.Usage, key.Origin = types.KeySpecRsa2048, types.KeyUsageTypeSignVerify, types.OriginTypeExternal
	key.Created, key.Materials = born.Add(time.Hour), key.Materials[1:]
	put(t, s, key)
	got, err := get(t, s, scope, "a")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "key", got, key)
}

func keyOfMaterial(t *testing.T, open Open) {
	s := open(t)
	put(t, s, sampleKey("a"), sampleKey("b"))
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		key, err := tx.KeyOfMaterial(ctx, scope, backing("b", 1))
		equal(t, "key", key, sampleKey("b"))
		if _, unknown := tx.KeyOfMaterial(ctx, scope, backing("c", 1)); !errors.Is(unknown, store.ErrNotFound) {
			t.Errorf("an unknown backing key gives %v", unknown)
		}
		return err
	})
	clash := sampleKey("c")
	clash.Materials = sampleKey("a").Materials
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutKey(t.Context(), clash) }); err == nil {
		t.Fatal("two keys own one backing key")
	}
}

func scopes(t *testing.T, open Open) {
	s := open(t)
	there := sampleKey("a")
	there.Scope, there.Description = other, "there"
	put(t, s, sampleKey("a"), there)
	here, err := get(t, s, scope, "a")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "key here", here, sampleKey("a"))
	if got, err := get(t, s, other, "a"); err != nil || got.Description != "there" {
		t.Fatalf("key there: %+v, %v", got, err)
	}
	if _, err := get(t, s, store.Scope{Account: "999999999999", Region: scope.Region}, "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("another account's key: %v", err)
	}
}

func keyPages(t *testing.T, open Open) {
	s := open(t)
	for _, id := range []string{"c", "a", "d", "b"} {
		put(t, s, sampleKey(id))
	}
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		first, err := tx.KeyIDs(ctx, scope, "", 3)
		equal(t, "first page", first, []string{"a", "b", "c"})
		rest, err2 := tx.KeyIDs(ctx, scope, "c", 3)
		equal(t, "second page", rest, []string{"d"})
		return errors.Join(err, err2)
	})
}

func deleteKey(t *testing.T, open Open) {
	s := open(t)
	put(t, s, sampleKey("a"), sampleKey("b"))
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		return errors.Join(
			tx.CreateAlias(ctx, scope, store.Alias{Name: "alias/a", KeyID: "a"}),
			tx.CreateGrant(ctx, scope, store.Grant{ID: "g", KeyID: "a"}),
			tx.PutTag(ctx, scope, "a", store.Tag{Key: "k", Value: "v"}),
			tx.DeleteKey(ctx, scope, "a"))
	})
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		_, aliasErr := tx.Alias(ctx, scope, "alias/a")
		_, materialErr := tx.KeyOfMaterial(ctx, scope, backing("a", 1))
		grants, err := tx.Grants(ctx, scope, store.GrantFilter{}, "", 10)
		tags, err2 := tx.Tags(ctx, scope, "a")
		if !errors.Is(aliasErr, store.ErrNotFound) || !errors.Is(materialErr, store.ErrNotFound) || len(grants) != 0 || len(tags) != 0 {
			t.Errorf("left over: %v, %v, %v, %v", aliasErr, materialErr, grants, tags)
		}
		return errors.Join(err, err2)
	})
	if _, err := get(t, s, scope, "b"); err != nil {
		t.Fatalf("the other key: %v", err)
	}
	err := s.Update(t.Context(), func(tx store.Tx) error { return tx.DeleteKey(t.Context(), scope, "a") })
	if !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("deleting it again gives %v", err)
	}
}

func aliases(t *testing.T, open Open) {
	s := open(t)
	put(t, s, sampleKey("a"), sampleKey("b"))
	want := store.Alias{Name: "alias/x", KeyID: "a", Created: born, Updated: born}
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		err := errors.Join(tx.CreateAlias(ctx, scope, want), tx.CreateAlias(ctx, scope, store.Alias{Name: "alias/y", KeyID: "b"}))
		if again := tx.CreateAlias(ctx, scope, want); !errors.Is(again, store.ErrExists) {
			t.Errorf("an alias that is taken gives %v", again)
		}
		return err
	})
	orphan := func(tx store.Tx) error { return tx.CreateAlias(t.Context(), other, want) }
	if err := s.Update(t.Context(), orphan); err == nil {
		t.Error("an alias of no key was stored")
	}
	moved := store.Alias{Name: "alias/x", KeyID: "b", Created: born, Updated: born.Add(time.Second)}
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		got, err := tx.Alias(ctx, scope, "alias/x")
		equal(t, "alias", got, want)
		if missing := tx.UpdateAlias(ctx, scope, store.Alias{Name: "alias/z", KeyID: "a"}); !errors.Is(missing, store.ErrNotFound) {
			t.Errorf("moving an unknown alias gives %v", missing)
		}
		return errors.Join(err, tx.UpdateAlias(ctx, scope, moved))
	})
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		ofA, err := tx.Aliases(ctx, scope, "a", "", 10)
		ofB, err2 := tx.Aliases(ctx, scope, "b", "", 1)
		rest, err3 := tx.Aliases(ctx, scope, "", "alias/x", 10)
		if len(ofA) != 0 || len(ofB) != 1 || len(rest) != 1 || rest[0].Name != "alias/y" {
			t.Errorf("aliases: %v, %v, %v", ofA, ofB, rest)
		}
		equal(t, "moved alias", ofB[0], moved)
		return errors.Join(err, err2, err3)
	})
	update(t, s, func(ctx context.Context, tx store.Tx) error { return tx.DeleteAlias(ctx, scope, "alias/x") })
	err := s.Update(t.Context(), func(tx store.Tx) error { return tx.DeleteAlias(t.Context(), scope, "alias/x") })
	if !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("deleting it again gives %v", err)
	}
}

func grants(t *testing.T, open Open) {
	s := open(t)
	put(t, s, sampleKey("a"), sampleKey("b"))
	full := store.Grant{
		ID: "1", KeyID: "a", Name: "n", Grantee: "arn:g", Retiring: "arn:r", IssuingAccount: "arn:i", Created: born,
		Operations:  []types.GrantOperation{types.GrantOperationDecrypt, types.GrantOperationEncrypt},
		Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a\"b": "ü"}},
	}
	bare := store.Grant{ID: "2", KeyID: "b", Grantee: "arn:g", Operations: []types.GrantOperation{types.GrantOperationDecrypt}, Created: born}
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.CreateGrant(ctx, scope, full), tx.CreateGrant(ctx, scope, bare))
	})
	for _, c := range []struct {
		filter store.GrantFilter
		after  string
		want   []store.Grant
	}{
		{store.GrantFilter{}, "", []store.Grant{full, bare}},
		{store.GrantFilter{}, "1", []store.Grant{bare}},
		{store.GrantFilter{KeyID: "a"}, "", []store.Grant{full}},
		{store.GrantFilter{GrantID: "2"}, "", []store.Grant{bare}},
		{store.GrantFilter{Grantee: "arn:g"}, "", []store.Grant{full, bare}},
		{store.GrantFilter{Retiring: "arn:r"}, "", []store.Grant{full}},
		{store.GrantFilter{KeyID: "b", Retiring: "arn:r"}, "", nil},
	} {
		view(t, s, func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Grants(ctx, scope, c.filter, c.after, 10)
			equal(t, fmt.Sprintf("grants of %+v", c.filter), got, c.want)
			return err
		})
	}
	update(t, s, func(ctx context.Context, tx store.Tx) error { return tx.DeleteGrant(ctx, scope, "a", "1") })
	err := s.Update(t.Context(), func(tx store.Tx) error { return tx.DeleteGrant(t.Context(), scope, "a", "1") })
	if !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("deleting it again gives %v", err)
	}
}

func tags(t *testing.T, open Open) {
	s := open(t)
	put(t, s, sampleKey("a"))
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		return errors.Join(
			tx.PutTag(ctx, scope, "a", store.Tag{Key: "b", Value: "1"}),
			tx.PutTag(ctx, scope, "a", store.Tag{Key: "a", Value: ""}),
			tx.PutTag(ctx, scope, "a", store.Tag{Key: "b", Value: "2"}),
			tx.PutTag(ctx, scope, "a", store.Tag{Key: "c", Value: "3"}),
			tx.DeleteTag(ctx, scope, "a", "c"), tx.DeleteTag(ctx, scope, "a", "never"))
	})
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		got, err := tx.Tags(ctx, scope, "a")
		equal(t, "tags", got, []store.Tag{{Key: "a"}, {Key: "b", Value: "2"}})
		return err
	})
}

func dueKeys(t *testing.T, open Open) {
	s := open(t)
	key := func(id string, state types.KeyState, deletion, rotation time.Time, material store.MaterialState) store.Key {
		k := sampleKey(id)
		k.State, k.DeletionDate, k.NextRotation = state, deletion, rotation
		k.Materials[1].State = material
		if id == "expired" {
			k.Materials[1].Expires = born
		}
		return k
	}
	late, soon := born.Add(-time.Hour), born.Add(time.Hour)
	put(t, s,
		key("delete", types.KeyStatePendingDeletion, born, soon, store.MaterialCurrent),
		key("wait", types.KeyStatePendingDeletion, soon, late, store.MaterialCurrent),
		key("rotate", types.KeyStateEnabled, time.Time{}, late, store.MaterialCurrent),
		key("paused", types.KeyStateDisabled, time.Time{}, late, store.MaterialCurrent),
		key("crashed", types.KeyStateEnabled, time.Time{}, soon, store.MaterialCreating),
		key("expired", types.KeyStateDisabled, time.Time{}, soon, store.MaterialPending),
		key("idle", types.KeyStateEnabled, late, soon, store.MaterialCurrent))
	ids := func(now, stale time.Time) (ids []string) {
		view(t, s, func(ctx context.Context, tx store.Tx) error {
			refs, err := tx.DueKeys(ctx, now, stale)
			for _, ref := range refs {
				ids = append(ids, ref.ID)
			}
			return err
		})
		return ids
	}
	equal(t, "due now", ids(born, born), []string{"delete", "expired", "rotate"})
	equal(t, "due now, with what is stale", ids(born, born.Add(1)), []string{"delete", "expired", "rotate"})
	equal(t, "stale a millisecond later", ids(born, born.Add(time.Millisecond)), []string{"crashed", "delete", "expired", "rotate"})
}

func rollback(t *testing.T, open Open) {
	s := open(t)
	put(t, s, sampleKey("a"))
	mistake := errors.New("mistake")
	before := readGeneration(t, s)
	err := s.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.PutKey(t.Context(), sampleKey("b")), tx.DeleteKey(t.Context(), scope, "a"), mistake)
	})
	if !errors.Is(err, mistake) {
		t.Fatalf("update gives %v", err)
	}
	if _, err := get(t, s, scope, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, s, scope, "b"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("the key of a failed update: %v", err)
	}
	equal(t, "generation", readGeneration(t, s), before)
}

func viewIsReadOnly(t *testing.T, open Open) {
	s := open(t)
	err := s.View(t.Context(), func(tx store.Tx) error { return tx.PutKey(t.Context(), sampleKey("a")) })
	if _, gone := get(t, s, scope, "a"); !errors.Is(gone, store.ErrNotFound) {
		t.Fatalf("a view has written (its error: %v)", err)
	}
	if err == nil {
		t.Fatal("a write in a view gives no error")
	}
}
