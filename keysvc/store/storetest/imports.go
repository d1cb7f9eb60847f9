package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func imports(t *testing.T, open Open) {
	s := open(t)
	put(t, s, sampleKey("a"), sampleKey("b"))
	first := store.Import{Scope: scope, KeyID: "a", Backing: backing("import", 1), Algorithm: types.AlgorithmSpecRsaesOaepSha256, Expires: born}
	second := store.Import{Scope: scope, KeyID: "b", Backing: backing("import", 2), Algorithm: types.AlgorithmSpecRsaAesKeyWrapSha1, Expires: born.Add(time.Hour)}
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.PutImport(ctx, first), tx.PutImport(ctx, second))
	})
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		got, err := tx.Import(ctx, scope, second.Backing)
		equal(t, "import", got, second)
		_, missing := tx.Import(ctx, other, second.Backing)
		if !errors.Is(missing, store.ErrNotFound) {
			t.Errorf("another scope sees it: %v", missing)
		}
		of, err2 := tx.Imports(ctx, scope, "a")
		equal(t, "imports of a key", of, []store.Import{first})
		expired, err3 := tx.ExpiredImports(ctx, born)
		equal(t, "expired", expired, []store.Import{first})
		return errors.Join(err, err2, err3)
	})
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.DeleteImport(ctx, scope, first.Backing), tx.DeleteImport(ctx, scope, first.Backing), tx.DeleteKey(ctx, scope, "b"))
	})
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		left, err := tx.ExpiredImports(ctx, born.Add(2*time.Hour))
		if len(left) > 0 {
			t.Errorf("left: %+v", left)
		}
		return err
	})
}

func related(t *testing.T, open Open) {
	s := open(t)
	key, replica := sampleKey("a"), sampleKey("a")
	replica.Scope = other
	put(t, s, key, replica, sampleKey("b"))
	view(t, s, func(ctx context.Context, tx store.Tx) error {
		regions, err := tx.KeyRegions(ctx, scope.Account, "a")
		equal(t, "regions", regions, []string{"eu-west-1", "us-east-1"})
		two, err2 := tx.MaterialUsers(ctx, backing("a", 1))
		one, err3 := tx.MaterialUsers(ctx, backing("b", 1))
		none, err4 := tx.MaterialUsers(ctx, backing("c", 1))
		if two != 2 || one != 1 || none != 0 {
			t.Errorf("users: %d, %d, %d", two, one, none)
		}
		return errors.Join(err, err2, err3, err4)
	})
}
