package pkcs11

import (
	"context"
	"errors"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"
)

func benchPool(t *testing.T, size int) (*pool, *faults) {
	b := newBench(t, nil)
	p := newPool(b.f, b.conn.Load().pool.slot, size)
	t.Cleanup(p.close)
	return p, b.f
}

func TestPoolLendsTheLastReturnedFirst(t *testing.T) {
	p, f := benchPool(t, 3)
	var s [3]session
	for i := range s {
		var err error
		if s[i], err = p.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.release(s[1], true)
	p.release(s[0], true)
	p.release(s[2], false)
	for _, want := range []session{s[0], s[1]} {
		if got, ok := p.tryAcquire(); !ok || got != want {
			t.Errorf("lent %d, want %d", got, want)
		}
	}
	if _, ok := p.tryAcquire(); ok {
		t.Error("a session that wasn't clean is lent again")
	}
	if f.count("C_CloseSession") != 1 {
		t.Error("it wasn't closed")
	}
}

func TestPoolIsBounded(t *testing.T) {
	p, _ := benchPool(t, 2)
	for range 2 {
		if _, err := p.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third session of two: %v", err)
	}
}

// releasing gives a session back just before it refuses another one.
type releasing struct {
	cryptoki
	release func()
}

func (r releasing) openSession(slot) (session, error) {
	r.release()
	return 0, callResult("C_OpenSession", p11.CKR_SESSION_COUNT)
}

func TestSessionThatComesBackWhileAnotherIsRefusedIsLent(t *testing.T) {
	p, _ := benchPool(t, 2)
	s, err := p.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.api = releasing{p.api, func() { p.release(s, true) }}
	if got, err := p.acquire(t.Context()); err != nil || got != s {
		t.Errorf("lent %d, %v; want %d", got, err, s)
	}
}

func TestPoolKeepsItsPlacesWhenSessionsFail(t *testing.T) {
	p, f := benchPool(t, 2)
	f.inject(rule{function: "C_OpenSession", times: 5, rv: p11.CKR_DEVICE_ERROR})
	for range 5 {
		if _, err := p.acquire(t.Context()); classify(err) != classFatal {
			t.Fatalf("error %v", err)
		}
	}
	for range 2 {
		if _, err := p.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClosedPoolClosesWhatComesBack(t *testing.T) {
	p, f := benchPool(t, 2)
	s, err := p.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.close()
	p.release(s, true)
	if f.count("C_CloseSession") != 1 {
		t.Error("the session stays open")
	}
}
