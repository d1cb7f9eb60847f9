package pkcs11

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
)

// localLatency is what a module in this process stays below in one AES-GCM
// operation, and one that talks to a device or another host doesn't.
const localLatency = 50 * time.Microsecond

// The fast path makes the one call that wraps, unwraps or signs on the caller's own
// goroutine, although the context can't interrupt it there: handing the call to
// another goroutine would cost as much as the call. It is taken only with a local
// module, a cached sub-key and an idle session, and never waits for a lock that is
// held during other calls. Should a call hang all the same, it hangs at most as
// many callers as there are sessions. Whatever doesn't go smoothly is left to the
// careful path, from the beginning.

// hot is a session borrowed for the fast path, with what keeps it valid.
type hot struct {
	c *connection
	s session
}

// borrow enters the gates and takes an idle session, if that needs no waiting.
func (t *token) borrow(ctx context.Context) (hot, bool) {
	if !t.local || ctx.Err() != nil || !t.life.tryEnter() {
		return hot{}, false
	}
	if t.closed.Load() || !t.mod.gate.tryEnter() {
		t.life.leave()
		return hot{}, false
	}
	if c := t.conn.Load(); t.usable(c) {
		if s, ok := c.pool.tryAcquire(); ok {
			return hot{c: c, s: s}, true
		}
	}
	t.mod.gate.leave()
	t.life.leave()
	return hot{}, false
}

// giveBack ends a borrowing; err is the result of the call.
func (t *token) giveBack(h hot, err error) {
	h.c.pool.release(h.s, clean(err))
	t.mod.gate.leave()
	t.life.leave()
}

// unwrapFast unwraps with a cached sub-key; false means to take the careful path.
func (t *token) unwrapFast(ctx context.Context, id hsm.KeyID, b blob, aad []byte) ([]byte, bool) {
	h, ok := t.borrow(ctx)
	if !ok {
		return nil, false
	}
	var err error
	defer func() { t.giveBack(h, err) }()
	sub, ok := h.c.keys.get(subID{key: id, alg: b.alg, salt: b.salt})
	if !ok {
		return nil, false
	}
	defer t.done(h.c, sub)
	out := make([]byte, len(b.sealed))
	n, err := h.c.api.decrypt(h.s, sub.handle, b.iv, aad, b.sealed, out)
	if err != nil || n != len(b.sealed)-tagSize {
		clear(out)
		return nil, false
	}
	return out[:n:n], true
}

// wrapFast wraps with the current epoch's sub-key; false means to take the careful
// path.
func (t *token) wrapFast(ctx context.Context, id hsm.KeyID, plaintext, aad []byte) ([]byte, bool) {
	h, ok := t.borrow(ctx)
	if !ok {
		return nil, false
	}
	var err error
	defer func() { t.giveBack(h, err) }()
	sub, ok := h.c.keys.writer(id)
	if !ok {
		return nil, false
	}
	defer t.done(h.c, sub)
	if sub.id.alg == algDirect && t.direct.take(id) != nil {
		return nil, false
	}
	out, b := newBlob(sub.id.alg, sub.id.salt, len(plaintext))
	_, _ = rand.Read(b.iv) // never fails, see crypto/rand
	err = sealInto(h.c.api, h.s, sub.handle, b, plaintext, aad)
	return out, err == nil
}

// useKeyFast runs f with a cached handle; false means to take the careful path, from the
// beginning.
func (t *token) useKeyFast(ctx context.Context, u keyUse, f func(c *connection, s session, key object) error) bool {
	h, ok := t.borrow(ctx)
	if !ok {
		return false
	}
	var err error
	defer func() { t.giveBack(h, err) }()
	sub, ok := h.c.keys.get(subID{key: u.id, alg: u.which})
	if !ok {
		return false
	}
	defer t.done(h.c, sub)
	if !sub.allows(u.purpose) {
		return false
	}
	err = f(h.c, h.s, sub.handle)
	return err == nil
}

// randomFast fills a short p; false means to take the careful path.
func (t *token) randomFast(ctx context.Context, p []byte) bool {
	if len(p) > randomChunk {
		return false
	}
	h, ok := t.borrow(ctx)
	if !ok {
		return false
	}
	err := h.c.api.random(h.s, p)
	t.giveBack(h, err)
	return err == nil
}
