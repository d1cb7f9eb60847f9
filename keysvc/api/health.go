package api

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	readyTime = 2 * time.Second // bounds the look at the store and the token
	readyLife = time.Second     // how long what was seen is told
)

// isHealth recognises what load balancers ask, and AWS clients never do.
func isHealth(r *http.Request) bool {
	switch r.URL.Path {
	case "/health", "/healthz", "/ready", "/readyz":
		return r.Method == http.MethodGet || r.Method == http.MethodHead
	}
	return false
}

// health answers /health and /ready, also by the names that end in z, in plain text.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	status, text := http.StatusOK, "ok\n"
	if strings.HasPrefix(r.URL.Path, "/ready") {
		status, text = s.ready()
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

func (s *Server) ready() (int, string) {
	if s.stopping.Load() {
		return http.StatusServiceUnavailable, "stopping\n"
	}
	if !s.readiness.get(s.lookReady) {
		return http.StatusServiceUnavailable, "not ready\n"
	}
	return http.StatusOK, "ready\n"
}

// lookReady isn't bound to a client: it is one look for all who ask.
func (s *Server) lookReady() bool {
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	err := s.config.Service.Ready(ctx)
	if err != nil {
		s.config.Logger.Error("not ready", "error", err)
	}
	return err == nil
}

// readiness remembers for a moment whether the service was ready: anybody may
// ask, without a signature, and should not keep the token busy.
type readiness struct {
	mu    sync.Mutex // guards what follows; held during a look, which others wait for
	until time.Time
	ready bool
}

func (r *readiness) get(look func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().After(r.until) {
		r.ready = look()
		r.until = time.Now().Add(readyLife)
	}
	return r.ready
}
