package api

import (
	"net"
	"net/netip"
	"sync"

	"github.com/kmsfs/kmsfs/keysvc/api/metrics"
)

// ConnectionLimits bound how many connections are open at once. What comes beyond
// them is closed unanswered; clients try again.
type ConnectionLimits struct {
	All       int // 0 = 1024
	PerClient int // from one IPv4 address, or one IPv6 network of 64 bits; 0 = 256
}

func (l ConnectionLimits) orUsual() ConnectionLimits {
	if l.All == 0 {
		l.All = 1024
	}
	if l.PerClient == 0 {
		l.PerClient = 256
	}
	return l
}

// connections counts what is open, over all listeners.
type connections struct {
	limits  ConnectionLimits
	metrics *metrics.Metrics

	mu     sync.Mutex // guards what follows
	all    int
	client map[netip.Prefix]int // by network; the zero Prefix = a unix socket
}

func newConnections(limits ConnectionLimits, m *metrics.Metrics) *connections {
	return &connections{limits: limits, metrics: m, client: map[netip.Prefix]int{}}
}

// open counts a connection unless there are too many.
func (c *connections) open(from netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= c.limits.All || c.client[from] >= c.limits.PerClient {
		c.metrics.Refused()
		return false
	}
	c.all++
	c.client[from]++
	c.metrics.Connected(1)
	return true
}

func (c *connections) close(from netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.client[from]--; c.client[from] == 0 {
		delete(c.client, from)
	}
	c.metrics.Connected(-1)
}

// limitedListener accepts what the limits allow.
type limitedListener struct {
	net.Listener
	open *connections
}

// Accept implements net.Listener.
func (l limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := clientNetwork(c.RemoteAddr())
		if l.open.open(from) {
			return &countedConn{Conn: c, closed: func() { l.open.close(from) }}, nil
		}
		_ = c.Close()
	}
}

// clientNetwork is what counts as one client: an IPv4 address, or an IPv6 network
// of the size that one site gets. It is zero for a unix socket.
func clientNetwork(addr net.Addr) netip.Prefix {
	address, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := address.Addr().Unmap().WithZone("")
	network, _ := ip.Prefix(min(ip.BitLen(), 64)) // no address is shorter
	return network
}

// countedConn is a connection that is counted until it is closed.
type countedConn struct {
	net.Conn
	closed func()
	once   sync.Once
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}

// CloseWrite ends the answers on a TCP connection or a unix socket. net/http calls
// it so that a client that still sends can read why it was refused.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
