package keysvc

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

// Quotas bound how much an account can have in a region; beyond them calls fail
// with LimitExceededException. 0 means AWS's default.
type Quotas struct {
	Keys          int `json:"keys,omitempty"`          // of all states, KMS's own included; default 100000
	AliasesPerKey int `json:"aliasesPerKey,omitempty"` // default 50
	GrantsPerKey  int `json:"grantsPerKey,omitempty"`  // at most 50000, the default
}

// Check refuses quotas that make no sense.
func (q Quotas) Check() error {
	switch {
	case q.Keys < 0 || q.AliasesPerKey < 0 || q.GrantsPerKey < 0:
		return errors.New("a quota can't be negative")
	case q.GrantsPerKey > maxGrants:
		return fmt.Errorf("a key can have %d grants at most", maxGrants)
	}
	return nil
}

// orAWS fills in the defaults.
func (q Quotas) orAWS() Quotas {
	return Quotas{cmp.Or(q.Keys, 100000), cmp.Or(q.AliasesPerKey, 50), cmp.Or(q.GrantsPerKey, maxGrants)}
}

// roomForKey refuses one key too many. It counts by reading ids, which costs less
// than making a key up to some ten thousand of them.
func (c *call) roomForKey(tx store.Tx) error {
	most := c.s.config.Quotas.Keys
	ids, err := tx.KeyIDs(c.ctx, c.scope, "", most)
	if err == nil && len(ids) >= most {
		return refuse(KindLimitExceeded, "The account %s has %d KMS keys in %s, which is the limit", c.scope.Account, most, c.scope.Region)
	}
	return err
}
