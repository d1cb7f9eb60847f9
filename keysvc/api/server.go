package api

import (
	"context"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/keysvc"
	"github.com/kmsfs/kmsfs/keysvc/api/principals"

	"github.com/google/uuid"
)

// MaxBody is the longest body of a request, in bytes. The API's longest member,
// an attestation document, takes 350 KiB of base64.
const MaxBody = 512 << 10

// targetPrefix precedes an operation's name in the header X-Amz-Target.
const targetPrefix = "TrentService."

// callTime bounds one operation.
const callTime = 20 * time.Second

// Config is what a Server is made of. The caller goes on owning the service.
type Config struct {
	Service    *keysvc.Service   // required
	Principals *principals.Store // required
	Account    string            // required: the service's account, twelve digits
	Now        func() time.Time  // nil = time.Now
	Logger     *slog.Logger      // nil = nothing is logged
}

// Server answers requests for the key service.
type Server struct {
	config   Config
	stopping atomic.Bool
}

// New checks the configuration and returns a Server. It does no I/O.
func New(config Config) (*Server, error) {
	if config.Service == nil || config.Principals == nil || !keysvc.ValidAccount(config.Account) {
		return nil, errors.New("keysvc/api: Service, Principals and Account are required")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{config: config}, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz") {
		s.health(w, r)
		return
	}
	requestID := uuid.NewString()
	w.Header().Set("X-Amzn-Requestid", requestID)
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	text, err := s.handle(ctx, w, r, requestID)
	if err != nil {
		refusal := refusalFor(err)
		s.log(r, requestID, refusal, err)
		answer(w, refusal.status, refusal.body())
		return
	}
	defer clear(text)
	answer(w, http.StatusOK, text)
}

// handle takes a request through all checks to its operation.
func (s *Server) handle(ctx context.Context, w http.ResponseWriter, r *http.Request, requestID string) ([]byte, error) {
	if r.Method != http.MethodPost || r.URL.Path != "/" {
		return nil, errNotFound
	}
	caller, body, err := s.authenticate(w, r, requestID)
	if err != nil {
		return nil, err
	}
	defer clear(body)
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	op := operations[name]
	if !ok || op == nil || !isAWSJSON(r) {
		return nil, errUnknownOperation
	}
	return op(keysvc.WithCaller(ctx, caller), s.config.Service, body)
}

func isAWSJSON(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == contentType
}

// log notes what was refused before it came to an operation, which would have
// recorded it.
func (s *Server) log(r *http.Request, requestID string, refusal *refusal, err error) {
	var service *keysvc.Error
	switch {
	case errors.As(err, &service):
		s.config.Logger.Debug("operation refused", "request", requestID, "error", err)
	case refusal == errFailed:
		s.config.Logger.Error("request failed", "request", requestID, "from", r.RemoteAddr, "error", err)
	default:
		s.config.Logger.Warn("request refused", "request", requestID, "from", r.RemoteAddr, "error", err)
	}
}
