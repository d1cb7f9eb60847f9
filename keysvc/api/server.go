package api

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc"
	"github.com/kmsfs/kmsfs/keysvc/api/metrics"
	"github.com/kmsfs/kmsfs/keysvc/api/principals"
	"github.com/kmsfs/kmsfs/keysvc/api/sigv4"
	"github.com/kmsfs/kmsfs/keysvc/api/throttle"

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
	Throttle   *throttle.Limits  // nil = nobody is throttled
	Metrics    *metrics.Metrics  // nil = nothing is counted
	Limits     ConnectionLimits  // zero = the usual ones
	Now        func() time.Time  // nil = time.Now
	Logger     *slog.Logger      // nil = nothing is logged
}

// Server answers requests for the key service.
type Server struct {
	config   Config
	keys     sigv4.Keys
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
	config.Limits = config.Limits.orUsual()
	return &Server{config: config}, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isHealth(r) {
		s.health(w, r)
		return
	}
	requestID, start := uuid.NewString(), time.Now()
	w.Header().Set("X-Amzn-Requestid", requestID)
	s.config.Metrics.Begin()
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	text, err := s.handle(ctx, w, r, requestID)
	defer clear(text)
	code := "OK"
	if err == nil {
		answer(w, http.StatusOK, text)
	} else {
		refusal := refusalFor(err)
		code = refusal.name
		s.log(r, requestID, refusal, err)
		answer(w, refusal.status, refusal.bodyFor(w, r, requestID))
	}
	s.config.Metrics.End(operationLabel(r), code, time.Since(start))
}

// handle takes a request through all checks to its operation.
func (s *Server) handle(ctx context.Context, w http.ResponseWriter, r *http.Request, requestID string) ([]byte, error) {
	if r.Method != http.MethodPost || r.URL.Path != "/" {
		return nil, errNotFound
	}
	if isQuery(r) {
		return s.securityTokenService(w, r, requestID)
	}
	caller, body, err := s.authenticate(w, r, "kms", requestID)
	if err != nil {
		return nil, err
	}
	defer clear(body)
	name, ok := operationName(r)
	op := operations[name]
	if !ok || op == nil || !isAWSJSON(r) {
		return nil, errUnknownOperation
	}
	if !s.config.Throttle.Allow(caller.UserName, name, s.config.Now()) {
		s.config.Metrics.Throttled(name)
		return nil, errThrottled
	}
	return op(keysvc.WithCaller(ctx, caller), s.config.Service, body)
}

// operationName is what the header X-Amz-Target asks for.
func operationName(r *http.Request) (string, bool) {
	return strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
}

// operationLabel is the operation's name, or one that stands for all that don't
// exist.
func operationLabel(r *http.Request) string {
	name, ok := operationName(r)
	switch {
	case isQuery(r):
		return "GetCallerIdentity"
	case !ok || operations[name] == nil:
		return "unknown"
	}
	return name
}

// Operations lists the names of the API's operations that are served.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

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
		s.countTokenFailure(err)
		s.config.Logger.Debug("operation refused", "request", requestID, "error", err)
	case refusal == errFailed:
		s.config.Logger.Error("request failed", "request", requestID, "from", r.RemoteAddr, "error", err)
	default:
		s.config.Logger.Warn("request refused", "request", requestID, "from", r.RemoteAddr, "error", err)
	}
}

// countTokenFailure counts an operation that failed because of the token, not
// because of what it was asked.
func (s *Server) countTokenFailure(err error) {
	if kind, ok := hsm.KindOf(err); ok && kind != hsm.KindInvalidCiphertext && kind != hsm.KindCanceled {
		s.config.Metrics.TokenFailed(kind.String())
	}
}
