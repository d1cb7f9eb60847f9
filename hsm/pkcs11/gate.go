package pkcs11

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// gate is a readers-writer lock whose waiting ends with the context: a call that
// hangs in the module must not hang those who wait for it.
type gate struct{ sem *semaphore.Weighted }

// gateReaders is the weight of the writer, far more than there are sessions.
const gateReaders = 1 << 30

func newGate() gate { return gate{sem: semaphore.NewWeighted(gateReaders)} }

func (g gate) enter(ctx context.Context) error { return g.sem.Acquire(ctx, 1) }

// tryEnter doesn't wait, not even for a waiting writer, and so can't deadlock
// with one inside another reader.
func (g gate) tryEnter() bool { return g.sem.TryAcquire(1) }

func (g gate) leave() { g.sem.Release(1) }

func (g gate) lock(ctx context.Context) error { return g.sem.Acquire(ctx, gateReaders) }
func (g gate) unlock()                        { g.sem.Release(gateReaders) }
