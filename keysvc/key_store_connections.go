package keysvc

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"
	"github.com/kmsfs/kmsfs/keysvc/xks"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// Clusters opens the tokens that AWS_CLOUDHSM key stores use. The service's
// configuration knows them by the names that the API calls CloudHsmClusterId.
type Clusters interface {
	// HasCluster tells whether the configuration names the cluster.
	HasCluster(id string) (bool, error)
	// OpenCluster opens the cluster's token with its PIN, which it doesn't keep.
	// hsm.KindTokenNotFound if the configuration doesn't name it.
	OpenCluster(ctx context.Context, id string, pin []byte) (hsm.Token, error)
}

const (
	// openTime bounds how long a connection is tried.
	openTime = 15 * time.Second
	// retryAfter is how long a connection that failed isn't tried again.
	retryAfter = time.Second
)

// errSuperseded is a connection that is void: the key store has been connected anew.
var errSuperseded = &hsm.Error{Op: "Connect", Kind: hsm.KindUnavailable, Err: errors.New("the custom key store is being connected anew")}

// connection is a connected key store in this process. Fields but ready are set
// before ready is closed.
type connection struct {
	revision int64
	ready    chan struct{}

	token  hsm.Token   // AWS_CLOUDHSM
	proxy  *xks.Client // EXTERNAL_KEY_STORE
	err    error
	failed time.Time
}

// connections are this process's connections, made when they are first needed. A
// token that fails later reconnects by itself; a proxy has no lasting connection.
type connections struct {
	mu     sync.Mutex // guards the rest; no other lock is taken under it
	live   map[store.KeyStoreRef]*connection
	closed bool
	ending sync.WaitGroup // connections being made or closed
}

// get returns the connection for the key store's revision, making it with open if
// there is none.
func (n *connections) get(ctx context.Context, ks *store.KeyStore, open func(context.Context, *connection) error) (*connection, error) {
	c, err := n.find(ctx, ks, open)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.ready:
		return c, c.err
	case <-ctx.Done():
		return nil, &hsm.Error{Op: "Connect", Kind: hsm.KindCanceled, Err: ctx.Err()}
	}
}

func (n *connections) find(ctx context.Context, ks *store.KeyStore, open func(context.Context, *connection) error) (*connection, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.live[ks.Ref()]
	switch {
	case n.closed:
		return nil, &hsm.Error{Op: "Connect", Kind: hsm.KindClosed}
	case old != nil && old.revision > ks.Revision:
		return nil, errSuperseded
	case old != nil && old.revision == ks.Revision && !old.mayRetry():
		return old, nil
	}
	c := &connection{revision: ks.Revision, ready: make(chan struct{})}
	if n.live == nil {
		n.live = make(map[store.KeyStoreRef]*connection)
	}
	n.live[ks.Ref()] = c
	n.end(old)
	// Who waits may give up; the others that wait for the same still get it.
	ctx = context.WithoutCancel(ctx)
	n.ending.Go(func() { c.make(ctx, open) })
	return c, nil
}

func (c *connection) make(ctx context.Context, open func(context.Context, *connection) error) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	if c.err = open(ctx, c); c.err != nil {
		c.failed = time.Now()
	}
	close(c.ready)
}

// making tells whether the connection for the key store's revision is being made.
func (n *connections) making(ks *store.KeyStore) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.live[ks.Ref()]
	if c == nil || c.revision != ks.Revision {
		return false
	}
	select {
	case <-c.ready:
		return false
	default:
		return true
	}
}

// mayRetry tells whether a connection has failed long enough ago. A PIN that was
// refused isn't tried again: tokens lock after few failures.
func (c *connection) mayRetry() bool {
	select {
	case <-c.ready:
	default:
		return false
	}
	return c.err != nil && !hsm.IsKind(c.err, hsm.KindPIN) && time.Since(c.failed) >= retryAfter
}

// end closes a connection in the background, once it is made and the calls under
// way have ended. The lock is held.
func (n *connections) end(c *connection) {
	if c == nil {
		return
	}
	n.ending.Go(func() {
		<-c.ready
		if c.token != nil {
			_ = c.token.Close() // nobody is left who could be told
		}
		if c.proxy != nil {
			c.proxy.Close()
		}
	})
}

// drop ends the connection to a key store.
func (n *connections) drop(ref store.KeyStoreRef) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.end(n.live[ref])
	delete(n.live, ref)
}

// refs names the key stores that there are connections to.
func (n *connections) refs() map[store.KeyStoreRef]int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	refs := make(map[store.KeyStoreRef]int64, len(n.live))
	for ref, c := range n.live {
		refs[ref] = c.revision
	}
	return refs
}

// close ends all connections and waits for that.
func (n *connections) close() {
	n.mu.Lock()
	n.closed = true
	for ref, c := range n.live {
		n.end(c)
		delete(n.live, ref)
	}
	n.mu.Unlock()
	n.ending.Wait()
}

// sweepConnections ends connections to key stores that another process has
// disconnected, changed or deleted.
func (s *Service) sweepConnections(ctx context.Context) error {
	for ref, revision := range s.connections.refs() {
		var ks store.KeyStore
		err := s.config.Store.View(ctx, func(tx store.Tx) (err error) {
			ks, err = tx.KeyStore(ctx, ref.Scope, ref.ID)
			return err
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return internal(err)
		}
		connected := ks.Connected() || ks.State == types.ConnectionStateTypeConnecting
		if !connected || ks.Revision > revision {
			s.connections.drop(ref)
		}
	}
	return nil
}

// clusterToken returns the token of an AWS_CLOUDHSM key store.
func (s *Service) clusterToken(ctx context.Context, ks *store.KeyStore) (hsm.Token, error) {
	c, err := s.connections.get(ctx, ks, func(ctx context.Context, c *connection) error {
		pin, err := s.openSecret(ctx, ks)
		if err != nil {
			return err
		}
		defer clear(pin)
		c.token, err = s.openCluster(ctx, ks.ClusterID, pin)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.token, nil
}

func (s *Service) openCluster(ctx context.Context, id string, pin []byte) (hsm.Token, error) {
	if s.config.Clusters == nil {
		return nil, &hsm.Error{Op: "Connect", Kind: hsm.KindTokenNotFound}
	}
	return s.config.Clusters.OpenCluster(ctx, id, pin)
}

// proxyOf returns the client of an external key store's proxy.
func (s *Service) proxyOf(ctx context.Context, ks *store.KeyStore) (*xks.Client, error) {
	c, err := s.connections.get(ctx, ks, func(ctx context.Context, c *connection) error {
		secret, err := s.openSecret(ctx, ks)
		if err != nil {
			return err
		}
		defer clear(secret)
		c.proxy, err = newProxy(ks, secret)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.proxy, nil
}

func newProxy(ks *store.KeyStore, secret []byte) (*xks.Client, error) {
	return xks.New(xks.Config{Endpoint: ks.XksEndpoint, Path: ks.XksPath, Region: ks.Region,
		Credential: xks.Credential{AccessKeyID: ks.XksAccessKey, Secret: xks.Secret(secret)}})
}
