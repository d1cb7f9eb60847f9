package keysvc

import (
	"context"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"
)

// The secret of a custom key store, a PIN or a secret access key, is in the store
// only wrapped by a backing key of its own in the service's token. So it is as safe
// as that token's PIN, and gone for good with the key store.

// secretData is what the token authenticates beside a secret: whose it is.
func secretData(ks *store.KeyStore) []byte {
	out := []byte("kmsfs key store secret")
	for _, part := range []string{ks.Account, ks.Region, ks.ID} {
		out = appendCounted(out, part)
	}
	return out
}

func (s *Service) sealSecret(ctx context.Context, ks *store.KeyStore, secret []byte) error {
	sealed, err := s.config.Token.Wrap(ctx, hsm.KeyID(ks.Backing), secret, secretData(ks))
	if err != nil {
		return fromToken(err)
	}
	ks.Secret = sealed
	return nil
}

// openSecret returns the secret, which the caller wipes.
func (s *Service) openSecret(ctx context.Context, ks *store.KeyStore) ([]byte, error) {
	return s.config.Token.Unwrap(ctx, hsm.KeyID(ks.Backing), ks.Secret, secretData(ks))
}

// destroySecret destroys the key that the secret is wrapped by.
func (s *Service) destroySecret(ctx context.Context, ks *store.KeyStore) error {
	ctx, cancel := s.detached(ctx)
	defer cancel()
	return s.destroyMaterials(ctx, []store.Material{{Backing: ks.Backing}})
}
