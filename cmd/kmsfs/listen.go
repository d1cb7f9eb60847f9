package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/keysvc/api"
)

// endpoint is a listener and the URL that clients use.
type endpoint struct {
	api.Listener
	url string
}

// wantsTCP reports whether an address is served beside, or instead of, a socket.
func (f *serveFlags) wantsTCP() bool { return f.socket == "" || f.listenIsExplicit }

// checkAddress finds the address of --listen and refuses to send plaintext data
// keys over a network.
func (f *serveFlags) checkAddress(encrypted bool) error {
	if !f.wantsTCP() {
		if encrypted {
			return usagef("TLS is for an address; add --listen")
		}
		return nil
	}
	addr, err := net.ResolveTCPAddr("tcp", f.listen)
	if err != nil {
		return usagef("--listen %s: %v", f.listen, err)
	}
	if !encrypted && !addr.IP.IsLoopback() {
		return failf(exitUsage, "add --tls, or --tls-cert and --tls-key; or listen on 127.0.0.1",
			"without TLS the key service is served on loopback addresses only, not on %s", f.listen)
	}
	f.address = addr
	return nil
}

// checkConnections refuses limits that nobody could connect under.
func (f *serveFlags) checkConnections() error {
	if f.connections.All < 1 || f.connections.PerClient < 1 {
		return usagef("--max-connections and --max-connections-per-client take a number from 1")
	}
	return nil
}

// open listens wherever the flags say.
func (f *serveFlags) open(config *tls.Config) ([]endpoint, error) {
	var all []endpoint
	if f.wantsTCP() {
		l, err := net.ListenTCP("tcp", f.address)
		if err != nil {
			return nil, listenError(err)
		}
		scheme := "http://"
		if config != nil {
			scheme = "https://"
		}
		all = append(all, endpoint{api.Listener{Listener: l, TLS: config}, scheme + l.Addr().String()})
	}
	if f.socket != "" {
		l, err := listenSocket(f.socket)
		if err != nil {
			return nil, errors.Join(listenError(err), closeAll(all))
		}
		all = append(all, endpoint{api.Listener{Listener: l}, "unix:" + f.socket})
	}
	return all, nil
}

func closeAll(all []endpoint) error {
	var errs []error
	for _, l := range all {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// listenSocket makes a unix socket that only its owner can use. One that a dead
// process has left is replaced.
func listenSocket(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		c, err := net.Dial("unix", path)
		if err == nil {
			return nil, errors.Join(&net.OpError{Op: "listen", Net: "unix", Addr: c.RemoteAddr(), Err: unix.EADDRINUSE}, c.Close())
		}
		if errors.Is(err, unix.ECONNREFUSED) {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	owner := net.ListenConfig{Control: onlyForOwner}
	return owner.Listen(context.Background(), "unix", path)
}

// onlyForOwner sets the mode that binding a socket gives its file. The umask, which
// does the same, is that of every goroutine.
func onlyForOwner(_, _ string, c syscall.RawConn) error {
	var mode error
	err := c.Control(func(fd uintptr) { mode = unix.Fchmod(int(fd), 0o600) })
	return errors.Join(err, mode)
}

func listenError(err error) error {
	code, hint := exitFailure, ""
	if errors.Is(err, unix.EADDRINUSE) {
		code, hint = exitConflict, "another process serves there; choose another --listen or --socket"
	}
	return failf(code, hint, "serve the key service: %v", err)
}
