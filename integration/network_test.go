package integration

import (
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// network is the way from a mount to its key service: it passes connections on, or fails as networks and
// servers do.
type network struct {
	t    *testing.T
	addr string // where clients connect to

	mu     sync.Mutex
	listen net.Listener
	target string
	fault  fault
	conns  map[*netConn]struct{}

	accepted atomic.Int64
}

// fault is what becomes of connections. The zero value passes them on.
type fault struct {
	hang  bool          // nothing is passed on, in neither direction
	reset bool          // connections are reset as soon as something is sent
	cut   bool          // the answer is cut off by a reset after its first bytes
	reply string        // is answered instead of what the server would
	delay time.Duration // before an answer is passed on
}

// netConn is one connection of a client.
type netConn struct {
	net.Conn
	lost atomic.Bool // what is sent on it reaches nobody any more
}

// newNetwork makes a way to a server at target.
func newNetwork(t *testing.T, target string) *network {
	t.Helper()
	n := &network{t: t, target: target, addr: "127.0.0.1:0", conns: map[*netConn]struct{}{}}
	n.up()
	t.Cleanup(n.down)
	return n
}

// up accepts connections, again on the same address.
func (n *network) up() {
	n.t.Helper()
	l, err := net.Listen("tcp", n.addr)
	must(n.t, err)
	n.addr = l.Addr().String()
	n.mu.Lock()
	n.listen = l
	n.mu.Unlock()
	go n.accept(l)
}

// down refuses connections and closes those that are there.
func (n *network) down() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listen != nil {
		n.listen.Close()
		n.listen = nil
	}
	for c := range n.conns {
		c.Close()
	}
}

// set changes what becomes of connections from now on.
func (n *network) set(f fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault = f
}

func (n *network) now() fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fault
}

// lose is what the power loss of a host does to its connections: nobody answers, and nobody resets them.
func (n *network) lose() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.lost.Store(true)
	}
}

// moveTo sends what connects from now on to another server.
func (n *network) moveTo(target string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.target = target
}

// open counts the connections that the clients hold.
func (n *network) open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

func (n *network) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		n.accepted.Add(1)
		nc := &netConn{Conn: c}
		n.mu.Lock()
		n.conns[nc] = struct{}{}
		target := n.target
		n.mu.Unlock()
		go n.serve(nc, target)
	}
}

func (n *network) serve(c *netConn, target string) {
	defer func() {
		c.Close()
		n.mu.Lock()
		delete(n.conns, c)
		n.mu.Unlock()
	}()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	go n.pass(c, server, c, false)
	n.pass(c, c, server, true)
}

// pass copies one direction of c.
func (n *network) pass(c *netConn, from io.Reader, to net.Conn, requests bool) {
	buf := make([]byte, 64<<10)
	for {
		k, err := from.Read(buf)
		if err != nil {
			to.Close()
			return
		}
		switch f := n.now(); {
		case c.lost.Load() || f.hang:
		case f.reset || f.cut && !requests:
			if f.cut {
				_, _ = to.Write(buf[:min(k, 20)])
				time.Sleep(10 * time.Millisecond) // a reset overtakes what was sent
			}
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
			c.Close()
			return
		case requests && f.reply != "":
			_, _ = c.Write([]byte(f.reply))
		default:
			if !requests {
				time.Sleep(f.delay)
			}
			_, _ = to.Write(buf[:k])
		}
	}
}

// remoteVolume is a volume whose keys are in a kmsfs serve behind a network.
type remoteVolume struct {
	*volume
	keys *keyServer
	net  *network
}

// newRemoteVolume makes a volume and mounts it. flags are of kmsfs serve.
func newRemoteVolume(t *testing.T, flags ...string) *remoteVolume {
	t.Helper()
	s := startKeyServer(t, flags...)
	r := &remoteVolume{keys: s, net: newNetwork(t, s.addr())}
	r.volume = &volume{t: t, State: s.dir + "/client", Back: s.dir + "/back", Mnt: s.dir + "/mnt", env: s.env}
	must(t, exec.Command("mkdir", r.Mnt).Run())
	url := "http://" + r.net.addr
	r.options = []string{"--endpoint", url}
	if strings.HasPrefix(s.url, "https") {
		url = "https://" + r.net.addr
		r.options = []string{"--endpoint", url, "--ca", s.vol.State + "/tls/ca.pem"}
	}
	r.kmsfs(append(append([]string{"init"}, r.options...), r.Back)...)
	return r
}
