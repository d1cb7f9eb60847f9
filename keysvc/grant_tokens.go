package keysvc

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

// maxGrants is AWS's quota of grants on a key, and how many are looked at.
const maxGrants = 50000

// A grant token names a grant and is different each time. As the store shows a
// grant to everybody as soon as CreateGrant has returned, a token adds no
// permission; it is checked so that a mistaken one is noticed, and it can stand
// for key and grant id in RetireGrant.
const grantTokenVersion = "1"

func newGrantToken(keyID, grantID string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join([]string{grantTokenVersion, keyID, grantID, rand.Text()}, "\n")))
}

// parseGrantToken returns the ids of key and grant that a token names.
func parseGrantToken(token string) (keyID, grantID string, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	part := strings.Split(string(raw), "\n")
	if err != nil || len(part) != 4 || part[0] != grantTokenVersion || !keyIDPattern.MatchString(part[1]) {
		return "", "", refuse(KindInvalidGrantToken, "The grant token is not valid.")
	}
	return part[1], part[2], nil
}

// checkGrantTokens refuses tokens that name no grant. A token of another key is
// allowed, as calls such as ReEncrypt send tokens for two keys.
func (c *call) checkGrantTokens(k *keySnapshot, tokens []string) error {
	for _, token := range tokens {
		keyID, grantID, err := parseGrantToken(token)
		if err != nil {
			return err
		}
		owner := k
		if keyID != k.ID {
			if owner, err = c.findID(keyID); err != nil {
				return refuse(KindInvalidGrantToken, "The grant token is not valid.")
			}
		}
		grants, err := c.s.grantsOf(c.ctx, owner)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(grants, func(g store.Grant) bool { return g.ID == grantID }) {
			return refuse(KindInvalidGrantToken, "The grant token is not valid.")
		}
	}
	return nil
}

// grantsOf returns a key's grants, reading them once per snapshot.
func (s *Service) grantsOf(ctx context.Context, k *keySnapshot) ([]store.Grant, error) {
	if known := k.grants.Load(); known != nil {
		return *known, nil
	}
	var grants []store.Grant
	err := s.config.Store.View(ctx, func(tx store.Tx) (err error) {
		grants, err = tx.Grants(ctx, k.Scope, store.GrantFilter{KeyID: k.ID}, "", maxGrants)
		return err
	})
	if err != nil {
		return nil, internal(err)
	}
	k.grants.Store(&grants)
	return grants, nil
}
