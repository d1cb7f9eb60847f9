package api

import (
	"context"
	"net/http"
	"time"
)

// readyTime bounds the look at the store and the token.
const readyTime = 2 * time.Second

// isHealth recognises what load balancers ask, and AWS clients never do.
func isHealth(r *http.Request) bool {
	return r.Method == http.MethodGet && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz")
}

// health answers /healthz and /readyz in plain text.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	status, text := http.StatusOK, "ok\n"
	if r.URL.Path == "/readyz" {
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
