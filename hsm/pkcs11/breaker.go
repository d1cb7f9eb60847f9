package pkcs11

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
)

// Pauses between restarts of a module that doesn't recover.
const (
	firstPause = 100 * time.Millisecond
	longPause  = 30 * time.Second
)

const outageHint = "is the HSM, or the directory of its tokens, there and readable?"

// breaker spaces out restarts of a failing module: the first is tried at once,
// further ones after doubling pauses, in which calls fail quickly.
type breaker struct {
	failures atomic.Int32 // since the last success

	mu    sync.Mutex // guards what follows; leaf lock
	until time.Time
}

// fail counts a failure. It returns the error to report while restarts pause.
func (b *breaker) fail(now time.Time, cause error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.until) {
		return &hsm.Error{Kind: hsm.KindUnavailable, Err: fmt.Errorf("%w (next restart in %v)", cause, b.until.Sub(now).Round(time.Millisecond)),
			Help: outageHint}
	}
	n := b.failures.Add(1)
	pause := min(firstPause<<min(n-1, 20), longPause)
	b.until = now.Add(pause)
	return nil
}

// succeed ends a series of failures.
func (b *breaker) succeed() {
	if b.failures.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures.Store(0)
	b.until = time.Time{}
}
