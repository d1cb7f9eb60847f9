package patience

import (
	"context"
	"sync"
	"time"
)

// probePause is the time between two attempts at a key service that does not answer.
const probePause = 100 * time.Millisecond

// outcome is what an attempt tells of the key service.
type outcome int

const (
	unknown outcome = iota // it was given up
	up                     // it answered
	down                   // it did not
)

// gate lets every attempt through while the key service answers, and one at a time while it does not.
type gate struct {
	turn chan struct{} // holds one token: the turn to try while it is down

	mu   sync.Mutex    // leaf lock
	shut chan struct{} // nil while the key service answers; closed when it does so again
	why  error         // of the last attempt that was not answered
}

func newGate() *gate {
	g := &gate{turn: make(chan struct{}, 1)}
	g.turn <- struct{}{}
	return g
}

// enter waits until an attempt may be made; call leave with what came of it.
func (g *gate) enter(ctx context.Context) (leave func(outcome, error), err error) {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return g.learn, nil
	}
	select {
	case <-shut:
		return g.learn, nil
	case <-g.turn:
		return g.endTurn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// cause is why nobody may pass, nil if everybody may.
func (g *gate) cause() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		return nil
	}
	return g.why
}

// learn opens the gate, or shuts it because of an error.
func (g *gate) learn(o outcome, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o == down {
		g.why = err
	}
	switch {
	case o == down && g.shut == nil:
		g.shut = make(chan struct{})
	case o == up && g.shut != nil:
		close(g.shut)
		g.shut = nil
	}
}

// endTurn is learn for an attempt that had the turn, which goes to another one after a pause.
func (g *gate) endTurn(o outcome, err error) {
	g.learn(o, err)
	next := func() { g.turn <- struct{}{} }
	if o == down {
		time.AfterFunc(probePause, next)
		return
	}
	next()
}
