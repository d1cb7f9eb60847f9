package pkcs11

import (
	"context"
	"os"
	"syscall"
	"time"
)

// SoftHSM rewrites a token's description at every login, and a process that reads
// it at that moment sees no token, or one without a PIN. So processes that use one
// SoftHSM configuration take turns, by a lock on the configuration file, when they
// initialise, look for tokens and log in. Programs that don't take part can still
// get in the way; see awaitToken.

// confLockWait bounds the wait for another process; then its turn is ignored.
const confLockWait = 5 * time.Second

// lockConf takes the lock on the module's configuration; how is syscall.LOCK_EX or
// LOCK_SH. The result releases it. Without a configuration file, or where it can't
// be locked, there is nothing to wait for.
func (m *module) lockConf(ctx context.Context, how int) (unlock func()) {
	if m.conf == "" {
		return nothing
	}
	f, err := os.Open(m.conf)
	if err != nil {
		return nothing
	}
	ctx, cancel := context.WithTimeout(ctx, confLockWait)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB) == nil {
			return func() { _ = f.Close() } // closing unlocks
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			_ = f.Close()
			return nothing
		}
	}
}
