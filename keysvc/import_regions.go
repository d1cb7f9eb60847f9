package keysvc

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Imported material of related multi-Region keys: which materials there are and what each
// is used for, the primary key decides for all; whether the token may use it, until when,
// and how it is described, each region has for itself. New material comes to the primary
// key first. Its replicas then know it and wait for the import of the same, and when all
// have it, the primary key can be rotated to it.

// isPending tells material that was imported and isn't bound to the key yet.
func isPending(m *store.Material) bool {
	return m.State == store.MaterialPending || m.State == store.MaterialPendingRegions
}

// withImports returns what a primary key has decided about materials, with what a replica
// has imported of them, and behind it the imports that are under way there.
func withImports(decided, own []store.Material) []store.Material {
	var all []store.Material
	for _, m := range decided {
		if m.State == store.MaterialCreating {
			continue
		}
		i := slices.IndexFunc(own, func(o store.Material) bool { return o.Backing == m.Backing })
		if i < 0 {
			m.Import, m.Expires = types.ImportStatePendingImport, time.Time{}
		} else {
			m.Import, m.Expires, m.Description = own[i].Import, own[i].Expires, own[i].Description
		}
		all = append(all, m)
	}
	for _, m := range own {
		if m.State == store.MaterialCreating {
			m.Number = nextNumber(&store.Key{Materials: all})
			all = append(all, m)
		}
	}
	return all
}

// keepInStep has related keys follow a change of one of them, inside its transaction. With
// imported material what happens to a replica matters to the others too.
func (s *Service) keepInStep(ctx context.Context, tx store.Tx, key *store.Key) error {
	switch {
	case isPrimary(key):
		return s.synchronize(ctx, tx, key)
	case isReplica(key) && key.Origin == types.OriginTypeExternal:
		primary, err := tx.Key(ctx, inRegion(key.Scope, key.PrimaryRegion), key.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return s.synchronize(ctx, tx, &primary)
	}
	return nil
}

// decidePending says of a primary key's new material whether all regions have it, which
// is when the key can be rotated to it.
func decidePending(ctx context.Context, tx store.Tx, primary *store.Key) error {
	i := slices.IndexFunc(primary.Materials, func(m store.Material) bool { return isPending(&m) })
	if i < 0 {
		return nil
	}
	m := &primary.Materials[i]
	everywhere := m.Import == types.ImportStateImported
	err := eachReplica(ctx, tx, primary, func(replica *store.Key) error {
		everywhere = everywhere && slices.ContainsFunc(replica.Materials, func(own store.Material) bool {
			return own.Backing == m.Backing && own.Import == types.ImportStateImported
		})
		return nil
	})
	state := store.MaterialPendingRegions
	if everywhere {
		state = store.MaterialPending
	}
	if err != nil || m.State == state {
		return err
	}
	m.State = state
	return tx.PutKey(ctx, *primary)
}
