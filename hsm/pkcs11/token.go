package pkcs11

import (
	"context"
	"crypto"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/kmsfs/kmsfs/hsm"
)

// token implements hsm.Token.
//
// Lock order: life, module.gate, connecting, connection.anchorLock, pool and keyring
// locks (leaves).
type token struct {
	mod *module
	cfg Config
	sel selection
	pin PIN
	now func() time.Time

	caps    hsm.Capabilities // set by Open
	local   bool             // set by Open: calls are too short to be worth handing off
	library string           // set by Open
	shape   atomic.Pointer[keyShape]
	// rawOAEP is set for hashes whose OAEP the token turned out not to do.
	rawOAEP map[crypto.Hash]*atomic.Bool
	// rawUnwrap is set when the token turned out not to unwrap with SHA-256.
	rawUnwrap atomic.Bool
	direct    directCounter
	conn      atomic.Pointer[connection]
	closed    atomic.Bool
	life      gate // operations are readers; Close is the writer
	// collecting is true while a goroutine destroys garbage.
	collecting atomic.Bool

	connecting *semaphore.Weighted // guards replacing conn, and latched
	latched    error               // a refused PIN
	breaker    breaker
}

var _ hsm.Token = (*token)(nil)

// Open loads the module, finds the token, logs in and probes what it can do.
// Errors: KindModule, KindTokenNotFound, KindPIN, KindUnsupported,
// KindInvalidArgument, KindUnavailable; most with a hint.
//
// Tokens opened through one module share its login, so when two are opened with
// different PINs for the same token, only the first PIN is checked.
func Open(ctx context.Context, cfg Config) (hsm.Token, error) {
	t, err := openThrough(ctx, cfg, nil)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// openThrough is Open with the module's functions wrapped by through, if it isn't
// nil.
func openThrough(ctx context.Context, cfg Config, through func(cryptoki) cryptoki) (*token, error) {
	cfg, sel, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	t := &token{
		cfg: cfg, sel: sel, pin: append(PIN(nil), cfg.PIN...), now: time.Now,
		life: newGate(), connecting: semaphore.NewWeighted(1), direct: newDirectCounter(),
		rawOAEP: map[crypto.Hash]*atomic.Bool{crypto.SHA1: new(atomic.Bool), crypto.SHA256: new(atomic.Bool)},
	}
	t.cfg.PIN = nil
	if err := t.enter(ctx, "Open"); err != nil {
		return nil, err
	}
	job := func(ctx context.Context) error { return t.open(ctx, through) }
	if err := t.run(ctx, "Open", job, func() { _ = t.Close() }); err != nil {
		return nil, err
	}
	return t, nil
}

// open is the part of Open that talks to the module. It leaves nothing behind
// when it fails.
func (t *token) open(ctx context.Context, through func(cryptoki) cryptoki) error {
	mod, err := acquireModule(ctx, t.cfg, through)
	if err != nil {
		return err
	}
	t.mod, t.library = mod, mod.libName
	err = t.attempt(ctx, "Open", t.probe)
	if isTokenNotFound(err) && mod.unshared() {
		if err = t.awaitToken(ctx, err); err == nil {
			err = t.attempt(ctx, "Open", t.probe)
		}
	}
	if err != nil {
		t.closed.Store(true)
		_ = t.shut(context.WithoutCancel(ctx))
	}
	return err
}

// probe fills in what Open finds out.
func (t *token) probe(ctx context.Context, c *connection) error {
	found, err := probe(ctx, c)
	t.caps, t.local = found.caps, found.latency < localLatency
	t.shape.Store(&found.shape)
	return err
}

// Info implements hsm.Token.
func (t *token) Info() hsm.Info {
	info := hsm.Info{Module: t.mod.path, Library: t.library}
	if c := t.conn.Load(); c != nil {
		info.Label, info.Serial = trimField(c.info.Label), trimField(c.info.SerialNumber)
		info.Manufacturer, info.Model = trimField(c.info.ManufacturerID), trimField(c.info.Model)
	}
	return info
}

// Capabilities implements hsm.Token.
func (t *token) Capabilities() hsm.Capabilities {
	caps := t.caps
	caps.Derivations = append([]hsm.Derivation(nil), caps.Derivations...)
	for h, raw := range t.rawOAEP {
		if raw.Load() {
			caps.HostOAEP = append(caps.HostOAEP, h)
		}
	}
	slices.Sort(caps.HostOAEP)
	caps.HostUnwrap = t.rawUnwrap.Load()
	return caps
}

// Close implements hsm.Token.
func (t *token) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err := t.life.lock(ctx)
	if err == nil {
		defer t.life.unlock()
		err = t.shut(ctx)
	}
	if err != nil {
		return &hsm.Error{Op: "Close", Kind: hsm.KindUnavailable, Err: err}
	}
	return nil
}

// shut disconnects, wipes the PIN and gives the module up. Nobody uses the token
// any more.
func (t *token) shut(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	t.disconnect(ctx)
	clear(t.pin)
	return t.mod.release()
}

// disconnect closes the connection's sessions, after the calls under way.
func (t *token) disconnect(ctx context.Context) {
	if t.mod.gate.lock(ctx) != nil {
		return
	}
	defer t.mod.gate.unlock()
	c := t.conn.Load() // stays, for Info
	if c != nil && c.gen == t.mod.gen && !t.mod.shutdown {
		c.close()
	}
}
