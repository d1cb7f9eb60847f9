package pkcs11

import (
	"context"
	"sync"
)

// pool lends out sessions, at most cap(permits) at a time. The session returned
// last is lent first, so that under light load the others stay untouched and a
// network module may drop them.
//
// Every call is made inside the module's gate: a session of an earlier module
// generation must never be closed in a later one, its number may have been given
// out again.
type pool struct {
	api     cryptoki
	slot    slot
	permits chan struct{} // holds one value per session that may still be lent

	mu     sync.Mutex // guards what follows; leaf lock
	idle   []session
	out    int
	closed bool
}

func newPool(api cryptoki, s slot, size int) *pool {
	p := &pool{api: api, slot: s, permits: make(chan struct{}, size)}
	for range size {
		p.permits <- struct{}{}
	}
	return p
}

// acquire lends a session, waiting for one if all are out. When the token has
// fewer sessions than expected, the pool shrinks to what it could get.
func (p *pool) acquire(ctx context.Context) (session, error) {
	for {
		select {
		case <-p.permits:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if s, ok := p.popIdle(); ok {
			return s, nil
		}
		s, err := p.api.openSession(p.slot)
		if err == nil {
			return s, nil
		}
		if !p.giveUp(classify(err)) {
			return 0, err
		}
	}
}

// tryAcquire lends an idle session, if there is one, without waiting.
func (p *pool) tryAcquire() (session, bool) {
	select {
	case <-p.permits:
	default:
		return 0, false
	}
	s, ok := p.popIdle()
	if !ok {
		p.giveUp(classOther)
	}
	return s, ok
}

// popIdle takes the session that was returned last, and counts one as lent
// whether or not there was one.
func (p *pool) popIdle() (session, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out++
	n := len(p.idle)
	if n == 0 {
		return 0, false
	}
	s := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return s, true
}

// giveUp undoes the count of popIdle after a session couldn't be opened. It
// reports whether to wait for another: the permit of a session beyond the
// token's limit is not put back, unless it is the last one.
func (p *pool) giveUp(c class) (wait bool) {
	p.mu.Lock()
	p.out--
	wait = c == classLimit && p.out+len(p.idle) > 0 // one may have come back meanwhile
	p.mu.Unlock()
	if !wait {
		p.permits <- struct{}{}
	}
	return wait
}

// release takes a session back; a session that isn't clean is closed, because
// an operation may still be active in it.
func (p *pool) release(s session, clean bool) {
	p.mu.Lock()
	p.out--
	keep := clean && !p.closed
	if keep {
		p.idle = append(p.idle, s)
	}
	p.mu.Unlock()
	if !keep {
		_ = p.api.closeSession(s) // it may be gone already
	}
	p.permits <- struct{}{}
}

// close closes idle sessions now and lent ones when they come back.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, s := range idle {
		_ = p.api.closeSession(s)
	}
}
