package api

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// readyTime bounds the look at the store and the token.
const readyTime = 2 * time.Second

// isHealth recognises what load balancers ask, and AWS clients never do.
func isHealth(r *http.Request) bool {
	switch r.URL.Path {
	case "/health", "/healthz", "/ready", "/readyz":
		return r.Method == http.MethodGet
	}
	return false
}

// health answers /health and /ready, also by the names that end in z, in plain text.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	status, text := http.StatusOK, "ok\n"
	if strings.HasPrefix(r.URL.Path, "/ready") {
		status, text = s.ready(r.Context())
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

func (s *Server) ready(ctx context.Context) (int, string) {
	if s.stopping.Load() {
		return http.StatusServiceUnavailable, "stopping\n"
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	if err := s.config.Service.Ready(ctx); err != nil {
		s.config.Logger.Error("not ready", "error", err)
		return http.StatusServiceUnavailable, "not ready\n"
	}
	return http.StatusOK, "ready\n"
}
