package keysvc

import (
	"context"

	"github.com/kmsfs/kmsfs/keysvc/store"
)

// Ready tells whether the service can answer: it reads from the store and takes
// a byte from the token. It is no operation and leaves no record.
func (s *Service) Ready(ctx context.Context) error {
	if err := s.config.Store.View(ctx, func(store.Tx) error { return nil }); err != nil {
		return internal(err)
	}
	var b [1]byte
	if err := s.config.Token.Random(ctx, b[:]); err != nil {
		return fromToken(err)
	}
	return nil
}
