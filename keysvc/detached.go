package keysvc

import (
	"context"
	"time"
)

// tokenPatience bounds work on the token that goes on after the caller has given up.
// Some of it holds the store's lock: a token that hangs must not stop everybody.
const tokenPatience = 10 * time.Second

// detached is a context for what must be done although the caller gives up.
func (s *Service) detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), s.patience)
}
