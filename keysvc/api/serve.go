package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of the HTTP server: what a slow or idle client can hold.
const (
	headerTime = 5 * time.Second   // for a request's headers
	readTime   = 10 * time.Second  // for headers and body
	idleTime   = 120 * time.Second // between requests on a connection
	stopTime   = 10 * time.Second  // for requests under way when the server stops
	maxHeader  = 16 << 10          // bytes

	// From the end of the headers to the end of the answer: the longest request and
	// the longest operation leave some of it.
	writeTime = readTime + callTime + 10*time.Second
)

// Listener is where a Server answers.
type Listener struct {
	net.Listener
	TLS *tls.Config // nil = without TLS
}

// Serve answers requests on all listeners until ctx ends or one fails. Then it
// stops listening, lets requests under way finish for ten seconds, and closes
// what is left. When it returns no operation runs any more. It returns nil after
// ctx has ended. A Server serves once.
func (s *Server) Serve(ctx context.Context, listeners ...Listener) error {
	gate := &gate{next: s}
	server := s.httpServer(gate)
	failed := make(chan error, len(listeners))
	open := newConnections(s.config.Limits, s.config.Metrics)
	for _, l := range listeners {
		limited := net.Listener(limitedListener{l.Listener, open})
		if l.TLS != nil {
			limited = tls.NewListener(limited, l.TLS) // outermost: net/http bounds handshakes that it knows of
		}
		go func() { failed <- server.Serve(limited) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.stopping.Store(true)
	err = errors.Join(err, shutdown(server))
	gate.close()
	s.trail.close()
	return err
}

// httpServer speaks HTTP/1.1, as AWS's endpoints for KMS do.
func (s *Server) httpServer(handler http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime,
		IdleTimeout: idleTime, MaxHeaderBytes: maxHeader, Protocols: &protocols,
		DisableGeneralOptionsHandler: true, // every answer has a request id
		ErrorLog:                     log.New(connectionLog{s.config.Logger}, "", 0),
	}
}

// connectionLog takes what net/http has to say. Most of it is about clients, which
// could fill a log at will.
type connectionLog struct{ logger *slog.Logger }

// Write implements io.Writer.
func (l connectionLog) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.HasPrefix(line, []byte("http: Accept error")) {
		level = slog.LevelError // out of file descriptors, as a rule
	}
	l.logger.Log(context.Background(), level, string(bytes.TrimSpace(line)))
	return len(line), nil
}

// shutdown ends a server. Being cut off is the clients' loss, not a failure.
func shutdown(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return server.Close()
	}
	return nil
}

// gate knows when the last request has ended: http.Server.Close doesn't wait.
type gate struct {
	next http.Handler

	mu     sync.RWMutex // held for reading by every request
	closed bool
}

// ServeHTTP passes a request on unless the gate is closed.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.closed {
		g.next.ServeHTTP(w, r)
	}
}

// close waits for the requests under way.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}
