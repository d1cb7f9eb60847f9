package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// enter begins an operation, unless the context has ended or the token is closed.
// After success the caller must call run.
func (t *token) enter(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return t.report(op, err)
	}
	if err := t.life.enter(ctx); err != nil {
		return t.report(op, err)
	}
	if t.closed.Load() {
		t.life.leave()
		return &hsm.Error{Op: op, Kind: hsm.KindClosed}
	}
	return nil
}

// run executes job for the caller of op and waits for it no longer than ctx. A
// call inside the module can't be cancelled: when the caller has gone, the job
// finishes in the background and then discard runs. So a job must not touch
// memory of the caller's if ctx can end; see private.
func (t *token) run(ctx context.Context, op string, job func(context.Context) error, discard func()) error {
	if ctx.Done() == nil {
		defer t.life.leave()
		return t.report(op, job(ctx))
	}
	done := make(chan error, 1)
	go func() {
		defer t.life.leave()
		done <- job(ctx)
	}()
	select {
	case err := <-done:
		return t.report(op, err)
	case <-ctx.Done():
		go func() { <-done; discard() }()
		return t.report(op, ctx.Err())
	}
}

// nothing is the discard function of operations without a result.
func nothing() {}

// private returns b or, if the caller may go away before the module does, a copy
// of it. The second result wipes the copy.
func private(ctx context.Context, b []byte) ([]byte, func()) {
	if ctx.Done() == nil {
		return b, nothing
	}
	c := append([]byte(nil), b...)
	return c, func() { clear(c) }
}

// attempt runs f on the current connection. After a failure that it knows a cure
// for it applies the cure and runs f again, once per kind of failure.
func (t *token) attempt(ctx context.Context, op string, f func(context.Context, *connection) error) error {
	var tried [classPIN + 1]bool
	for {
		gen, err := t.once(ctx, f)
		if err == nil {
			t.breaker.succeed()
			return nil
		}
		c := classify(err)
		if tried[c] || ctx.Err() != nil {
			return err
		}
		tried[c] = true
		if c == classGone && tried[classFatal] {
			err = t.awaitToken(ctx, err) // the restart is made, the token not seen yet
		} else {
			err = t.cure(ctx, op, c, gen, err)
		}
		if err != nil {
			return err
		}
	}
}

// once runs f inside the module's gate and reports the module's generation.
func (t *token) once(ctx context.Context, f func(context.Context, *connection) error) (uint64, error) {
	if err := t.mod.gate.enter(ctx); err != nil {
		return 0, err
	}
	defer t.mod.gate.leave()
	gen := t.mod.gen
	c, err := t.connection(ctx)
	if err != nil {
		return gen, err
	}
	err = f(ctx, c)
	if classify(err) == classLogin {
		c.broken.Store(true)
	}
	return gen, err
}

// cure prepares another run after a failure of class c; it returns the error to
// report if there is nothing to be done.
func (t *token) cure(ctx context.Context, op string, c class, gen uint64, cause error) error {
	switch c {
	case classStale, classPolicy, classSession, classLogin:
		// The handle, session or connection has been dropped where it failed.
		return nil
	case classFatal, classGone:
		return t.reconnect(ctx, op, c, gen, cause)
	}
	return cause
}

// reconnect restarts the module, unless that was tried too recently.
func (t *token) reconnect(ctx context.Context, op string, c class, gen uint64, cause error) error {
	if err := t.breaker.fail(t.now(), cause); err != nil {
		return err
	}
	t.cfg.Logger.Warn("restarting the PKCS#11 module", "op", op, "module", t.mod.path, "cause", cause)
	if c == classGone {
		return t.awaitToken(ctx, cause)
	}
	if err := t.mod.restart(ctx, gen); err != nil {
		return &hsm.Error{Kind: hsm.KindUnavailable, Err: fmt.Errorf("%w, and restarting the module: %w", cause, err), Help: outageHint}
	}
	return nil
}

// tokenPauses are the waits between looks for a token that isn't there. SoftHSM
// misses one that another process is writing to, if only to note a login, and
// looks again only when it is initialised.
var tokenPauses = [...]time.Duration{0, 10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond}

// awaitToken restarts the module until it shows the token, or returns cause.
func (t *token) awaitToken(ctx context.Context, cause error) error {
	for _, pause := range tokenPauses {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		seen, err := t.look(ctx)
		if err != nil {
			return err
		}
		if seen {
			return nil
		}
	}
	return cause
}

// look restarts the module and looks for the token.
func (t *token) look(ctx context.Context) (seen bool, err error) {
	if err := t.mod.gate.enter(ctx); err != nil {
		return false, err
	}
	gen := t.mod.gen
	t.mod.gate.leave()
	if t.mod.restart(ctx, gen) != nil {
		return false, ctx.Err() // perhaps the same write is in the way
	}
	if err := t.mod.gate.enter(ctx); err != nil {
		return false, err
	}
	defer t.mod.gate.leave()
	defer t.mod.lockConf(ctx, syscall.LOCK_SH)()
	_, _, err = t.sel.locate(t.mod.api)
	return err == nil, nil
}

// connection returns the current connection, made anew if it is missing, broken
// or of an earlier generation. The module's gate is entered.
func (t *token) connection(ctx context.Context) (*connection, error) {
	if c := t.conn.Load(); t.usable(c) {
		return c, nil
	}
	if err := t.connecting.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer t.connecting.Release(1)
	c := t.conn.Load()
	if t.usable(c) {
		return c, nil
	}
	if t.latched != nil {
		return nil, t.latched
	}
	if t.mod.shutdown {
		return nil, callResult("C_Initialize", p11.CKR_CRYPTOKI_NOT_INITIALIZED)
	}
	if c != nil && c.gen == t.mod.gen {
		c.close()
	}
	return t.replaceConnection(ctx)
}

func (t *token) usable(c *connection) bool {
	return c != nil && c.gen == t.mod.gen && !c.broken.Load() && !t.mod.shutdown
}

// replaceConnection connects, and latches a refused PIN. connecting is held.
func (t *token) replaceConnection(ctx context.Context) (*connection, error) {
	c, err := connect(ctx, t)
	if classify(err) == classPIN {
		t.latched = &hsm.Error{Kind: hsm.KindPIN, Err: err,
			Help: "correct the PIN and open the token again; tokens lock after a few wrong ones"}
		t.cfg.Logger.Error("the token refused the PIN; it is not tried again", "token", t.sel.String(), "cause", err)
		return nil, t.latched
	}
	if isTokenNotFound(err) && t.conn.Load() != nil {
		// It was there. Many modules notice changes only when initialised.
		return nil, fmt.Errorf("%w: %w", callResult("C_GetSlotList", p11.CKR_TOKEN_NOT_PRESENT), err)
	}
	if err != nil {
		return nil, err
	}
	t.conn.Store(c)
	return c, nil
}

// kinds maps what is left of a failure after its cures to the kind to report.
var kinds = map[class]hsm.Kind{
	classAuth:      hsm.KindInvalidCiphertext,
	classAmbiguous: hsm.KindInvalidCiphertext,
	classSession:   hsm.KindUnavailable,
	classLimit:     hsm.KindUnavailable,
	classLogin:     hsm.KindUnavailable,
	classFatal:     hsm.KindUnavailable,
	classGone:      hsm.KindUnavailable,
	classPIN:       hsm.KindPIN,
}

// report gives an error its final form.
func (t *token) report(op string, err error) error {
	if err == nil {
		return nil
	}
	var e *hsm.Error
	switch {
	case errors.As(err, &e):
		out := *e
		out.Op = op
		return &out
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &hsm.Error{Op: op, Kind: hsm.KindCanceled, Err: err}
	}
	return &hsm.Error{Op: op, Kind: kinds[classify(err)], Err: err}
}
