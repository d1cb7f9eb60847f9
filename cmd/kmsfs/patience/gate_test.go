package patience

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errRefused = errors.New("connection refused")

// shutGate is a gate that one attempt has shut.
func shutGate(t *testing.T) *gate {
	t.Helper()
	g := newGate()
	leave, err := g.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leave(down, errRefused)
	return g
}

func TestOneAttemptAtATimeWhileNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := shutGate(t)
		var attempts, atOnce atomic.Int32
		back := time.Now().Add(10 * time.Second)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				for {
					leave, err := g.enter(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if !time.Now().Before(back) {
						leave(up, nil)
						return
					}
					attempts.Add(1)
					if atOnce.Add(1) > 1 {
						t.Error("two attempts at once")
					}
					time.Sleep(10 * time.Millisecond)
					atOnce.Add(-1)
					leave(down, errRefused)
				}
			})
		}
		all.Wait()
		if late := time.Since(back); late > probePause+10*time.Millisecond {
			t.Errorf("the last one came through %v late", late)
		}
		if n := attempts.Load(); n < 80 || n > 100 {
			t.Errorf("%d attempts in ten seconds", n)
		}
	})
}

func TestWaiterAtTheGateEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := shutGate(t)
		leave, err := g.enter(t.Context()) // has the turn
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if g.cause() != errRefused {
			t.Errorf("cause %v", g.cause())
		}
		leave(unknown, nil) // was interrupted: the next one has the turn, at once
		start := time.Now()
		if leave, err = g.enter(t.Context()); err != nil || time.Since(start) != 0 {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		leave(up, nil)
		for range 3 {
			if _, err := g.enter(ctx); err != nil {
				t.Error(err) // open: nobody waits, also not with a context that has ended
			}
		}
	})
}
