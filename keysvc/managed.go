package keysvc

import (
	"errors"
	"slices"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// managedAliases are the aliases whose keys the service makes by itself on first
// use, as AWS services have them. Nobody can disable, delete or rename such a
// key, and it rotates every year.
var managedAliases = []string{"alias/aws/kmsfs"}

// managedKey makes the key of a managed alias that isn't in the store yet and
// returns its id. For other aliases it returns notFound. Who needs a grant can't have
// one on a key that isn't there.
func (c *call) managedKey(alias string, notFound error) (string, error) {
	var e *Error
	if !errors.As(notFound, &e) || e.Kind != KindNotFound || !slices.Contains(managedAliases, alias) {
		return "", notFound
	}
	if !c.owns(c.scope.Account) {
		return "", c.denied(c.op.name, arn(c.scope, alias), "no identity-based policy allows")
	}
	key := c.newKey(types.KeyManagerTypeAws)
	key.Description = "Default key of kmsfs volumes that name no key of their own"
	key.RotationPeriodDays = defaultRotationDays
	key.NextRotation = c.now.Add(defaultRotationDays * day)
	k, err := c.makeKey(key, func(tx store.Tx) error {
		return tx.CreateAlias(c.ctx, c.scope, store.Alias{Name: alias, KeyID: key.ID, Created: c.now, Updated: c.now})
	})
	if errors.Is(err, store.ErrExists) { // somebody else was first
		return c.s.lookupAlias(c.ctx, c.scope, alias)
	}
	if err != nil {
		return "", err
	}
	return k.ID, nil
}
