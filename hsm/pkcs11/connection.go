package pkcs11

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"

	p11 "github.com/miekg/pkcs11"
	"golang.org/x/sync/semaphore"

	"github.com/kmsfs/kmsfs/hsm"
)

// connection is a logged-in presence on one token in one generation of the
// module: the anchor session, the pool of working sessions and the handles. All
// of it is replaced together.
//
// The anchor session keeps the login and owns the session objects, both of which
// end with it. It is never lent: one user at a time holds the anchor's lock.
type connection struct {
	mod    *module
	api    cryptoki
	gen    uint64
	info   p11.TokenInfo
	pool   *pool
	keys   *keyring
	broken atomic.Bool // to be replaced at the next use
	// loggedIn is false for a token that has no login.
	loggedIn bool

	anchorLock *semaphore.Weighted // before keyring.mu, never while waiting for the pool
	anchor     session
}

// connect finds the token, opens the anchor and logs in. The module's gate is
// entered.
func connect(ctx context.Context, t *token) (*connection, error) {
	defer t.mod.lockConf(ctx, syscall.LOCK_EX)()
	api := t.mod.api
	sl, info, err := t.sel.locate(api)
	if err != nil {
		return nil, err
	}
	anchor, err := api.openSession(sl)
	if err != nil {
		return nil, err
	}
	needed := len(t.pin) > 0 || info.Flags&p11.CKF_LOGIN_REQUIRED != 0
	if needed {
		err = logIn(api, anchor, t.pin)
	}
	if err != nil {
		_ = api.closeSession(anchor)
		return nil, err
	}
	return &connection{
		loggedIn: needed, mod: t.mod, api: api, gen: t.mod.gen, info: info, anchor: anchor,
		anchorLock: semaphore.NewWeighted(1),
		pool:       newPool(api, sl, t.cfg.sessions(info.MaxSessionCount)),
		keys:       newKeyring(cachedSubKeys, t.now),
	}, nil
}

// logIn logs the process in. Login is per process and token: that somebody has
// logged in already is success.
func logIn(api cryptoki, s session, pin PIN) error {
	err := api.login(s, p11.CKU_USER, pin)
	if isCall(err, p11.CKR_USER_ALREADY_LOGGED_IN) {
		return nil
	}
	return err
}

// close ends the connection's sessions. The module's gate is entered, in the
// connection's own generation.
func (c *connection) close() {
	c.broken.Store(true)
	c.pool.close()
	_ = c.api.closeSession(c.anchor) // it may be gone already
}

// withSession lends f a session of the pool. A session in which anything but an
// authentication failure happened isn't used again.
func (c *connection) withSession(ctx context.Context, f func(session) error) error {
	s, err := c.pool.acquire(ctx)
	if err != nil {
		return err
	}
	err = f(s)
	c.pool.release(s, clean(err))
	return err
}

// clean reports whether a session is as good as new after a call with this result.
func clean(err error) bool {
	if err == nil {
		return true
	}
	cl := classify(err)
	return cl == classAuth || cl == classAmbiguous
}

// withAnchor gives f the anchor session. If the anchor turns out to be dead, so
// are the login and all session objects, and the connection is replaced.
func (c *connection) withAnchor(ctx context.Context, f func(session) error) error {
	if err := c.anchorLock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer c.anchorLock.Release(1)
	err := f(c.anchor)
	if classify(err) == classSession {
		c.broken.Store(true)
	}
	return err
}

// findKey looks the backing key up in the token itself.
func (c *connection) findKey(ctx context.Context, s session, id hsm.KeyID) (object, bool, error) {
	found, err := c.api.find(s, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY),
		p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_AES),
		p11.NewAttribute(p11.CKA_TOKEN, true),
		p11.NewAttribute(p11.CKA_ID, id[:]),
	})
	switch {
	case err != nil:
		return 0, false, err
	case len(found) == 0:
		return 0, false, c.confirmAbsence(ctx, s)
	case len(found) > 1:
		return 0, false, fmt.Errorf("%d keys have the id %s", len(found), id)
	}
	return found[0], true, nil
}

// confirmAbsence makes sure that a key which wasn't found doesn't just hide: after a
// logout private objects are invisible, and SoftHSM shows a token whose files were
// taken away as empty.
func (c *connection) confirmAbsence(ctx context.Context, s session) error {
	defer c.mod.lockConf(ctx, syscall.LOCK_SH)()
	if _, err := c.api.tokenInfo(c.pool.slot); err != nil {
		return err
	}
	if !c.loggedIn {
		return nil
	}
	state, err := c.api.sessionState(s)
	if err == nil && state != p11.CKS_RW_USER_FUNCTIONS {
		return callResult("C_FindObjects", p11.CKR_USER_NOT_LOGGED_IN)
	}
	return err
}

// resolve returns the handle of the backing key and what it is good for, from
// the cache or the token. The anchor is held.
func (c *connection) resolve(ctx context.Context, s session, id hsm.KeyID) (baseKey, error) {
	if b, ok := c.keys.baseKey(id); ok {
		return b, nil
	}
	mark := c.keys.mark()
	h, ok, err := c.findKey(ctx, s, id)
	if err != nil {
		return baseKey{}, err
	}
	if !ok {
		return baseKey{}, keyNotFound(id)
	}
	attrs, err := c.api.attributes(s, h, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_DERIVE, nil),
		p11.NewAttribute(p11.CKA_DECRYPT, nil),
	})
	if err != nil {
		return baseKey{}, err
	}
	b := baseKey{handle: h, derives: isTrue(attrs[0]), direct: isTrue(attrs[1])}
	c.keys.setBaseKey(id, b, mark)
	return b, nil
}

// isTrue reads a boolean attribute.
func isTrue(a *p11.Attribute) bool { return len(a.Value) == 1 && a.Value[0] != 0 }

func keyNotFound(id hsm.KeyID) error {
	return &hsm.Error{Kind: hsm.KindKeyNotFound, Err: fmt.Errorf("the token has no backing key %s", id)}
}
