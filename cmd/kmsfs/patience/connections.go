package patience

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// connections are those of one client. When the host at the other end has lost its power, or something on
// the way has forgotten them, nothing tells so, and each would be tried in turn.
type connections struct {
	silence time.Duration // how long one that is used may be silent

	mu   sync.Mutex // leaf lock
	open map[*connection]struct{}
}

// connection knows when it was last heard of.
type connection struct {
	net.Conn
	of    *connections
	heard atomic.Int64 // unix nanoseconds
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// dial remembers what dial connects.
func (c *connections) dial(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, c.silence)
		defer cancel()
		raw, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		made := &connection{Conn: raw, of: c}
		made.heard.Store(time.Now().UnixNano())
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.open == nil {
			c.open = map[*connection]struct{}{}
		}
		c.open[made] = struct{}{}
		return made, nil
	}
}

// Read implements net.Conn.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// closeSilent closes what may be dead: what was not heard of for as long as an attempt may take. A request
// that waits on one of them is tried again.
func (c *connections) closeSilent() {
	before := time.Now().Add(-c.silence).UnixNano()
	c.mu.Lock()
	var silent []*connection
	for one := range c.open {
		if one.heard.Load() <= before {
			silent = append(silent, one)
		}
	}
	c.mu.Unlock()
	for _, one := range silent {
		one.Close()
	}
}
