package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func sampleKeyStore(id string) store.KeyStore {
	return store.KeyStore{
		Scope: scope, ID: id, Name: "Tresor " + id, Type: types.CustomKeyStoreTypeExternalKeyStore,
		ClusterID: "cluster-abcdefghijk", TrustAnchor: "PEM", XksEndpoint: "https://x", XksPath: "/kms/xks/v1",
		XksAccessKey: "AK", Backing: backing(id, 9), Secret: []byte{0, 1, 255},
		State: types.ConnectionStateTypeFailed, ErrorCode: types.ConnectionErrorCodeTypeNetworkErrors, Revision: 7, Created: born,
	}
}

func putKeyStores(t *testing.T, s store.Store, all ...store.KeyStore) {
	t.Helper()
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		for _, ks := range all {
			if err := tx.PutKeyStore(ctx, ks); err != nil {
				return err
			}
		}
		return nil
	})
}

func keyStores(t *testing.T, open Open) {
	s := open(t)
	a, b := sampleKeyStore("cks-a"), sampleKeyStore("cks-b")
	foreign := sampleKeyStore("cks-a")
	foreign.Scope = other
	putKeyStores(t, s, b, a, foreign)
	a.Name, a.State, a.ErrorCode, a.Revision, a.Secret = "renamed", types.ConnectionStateTypeConnected, "", 8, []byte("s")
	putKeyStores(t, s, a)
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		got, err := tx.KeyStore(ctx, scope, "cks-a")
		equal(t, "replaced", got, a)
		if err != nil {
			return err
		}
		all, err := tx.KeyStores(ctx, scope, "", 10)
		equal(t, "list", all, []store.KeyStore{a, b})
		if err != nil {
			return err
		}
		rest, err := tx.KeyStores(ctx, scope, "cks-a", 10)
		equal(t, "rest of the list", rest, []store.KeyStore{b})
		if _, missing := tx.KeyStore(ctx, scope, "cks-c"); !errors.Is(missing, store.ErrNotFound) {
			t.Error(missing)
		}
		return err
	})
}

func keysInStores(t *testing.T, open Open) {
	s := open(t)
	ks, key := sampleKeyStore("cks-a"), sampleKey("in")
	key.CustomKeyStoreID, key.XksKeyID = ks.ID, "ext-1"
	putKeyStores(t, s, ks)
	put(t, s, key, sampleKey("out"))
	got, err := get(t, s, scope, "in")
	if err != nil {
		t.Fatal(err)
	}
	key.KeyStore = &ks
	equal(t, "key with its key store", got, key)
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		for _, c := range []struct {
			id, external string
			want         []string
		}{{ks.ID, "", []string{"in"}}, {ks.ID, "ext-1", []string{"in"}}, {ks.ID, "ext-2", nil}, {"cks-b", "", nil}, {"", "", nil}} {
			ids, err := tx.KeysInStore(ctx, scope, c.id, c.external, 10)
			if err != nil {
				return err
			}
			equal(t, "keys in "+c.id+" for "+c.external, ids, c.want)
		}
		return nil
	})
	remove := func(tx store.Tx) error { return tx.DeleteKeyStore(t.Context(), scope, ks.ID) }
	if err := s.Update(t.Context(), remove); err == nil {
		t.Error("a key store with keys was deleted")
	}
	update(t, s, func(ctx context.Context, tx store.Tx) error { return tx.DeleteKey(ctx, scope, "in") })
	if err := s.Update(t.Context(), remove); err != nil {
		t.Error(err)
	}
	if err := s.Update(t.Context(), remove); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}
