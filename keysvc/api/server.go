package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc"
	"github.com/kmsfs/kmsfs/keysvc/api/awsjson"
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
	config    Config
	keys      sigv4.Keys
	buffers   buffers
	refusals  *refusalLog
	trail     *refusalTrail
	readiness readiness
	stopping  atomic.Bool
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
	return &Server{
		config: config, refusals: newRefusalLog(config.Logger),
		trail: newRefusalTrail(config.Service, config.Logger),
	}, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isHealth(r) {
		s.health(w, r)
		return
	}
	q := &request{Request: r, id: uuid.NewString(), query: isQuery(r)}
	start := time.Now()
	s.config.Metrics.Begin()
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	room := s.buffers.get()
	defer s.buffers.put(room)
	code := "OK"
	text, err := s.guarded(ctx, q, room.text)
	if err == nil {
		room.text = text
		answer(w, http.StatusOK, q, text)
	} else {
		refusal := refusalFor(err)
		code = refusal.name
		s.log(q, refusal, err)
		answer(w, refusal.status, q, refusal.bodyFor(q))
	}
	s.config.Metrics.End(q.label(), code, time.Since(start))
}

// request is a request and what is known of it from the start.
type request struct {
	*http.Request
	id    string
	query bool // whether it speaks the protocol of the Security Token Service
}

// guarded makes a panic a failure of this one request. What it was about is in
// the log.
func (s *Server) guarded(ctx context.Context, q *request, to []byte) (text []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			text, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return s.handle(ctx, q, to)
}

// handle takes a request through all checks to its operation, whose answer it
// appends.
func (s *Server) handle(ctx context.Context, q *request, to []byte) ([]byte, error) {
	if (q.Method != http.MethodPost || q.URL.Path != "/") && !sigv4.Presigned(q.Request) {
		return nil, errNotFound
	}
	body := s.buffers.get()
	defer s.buffers.put(body)
	if q.query {
		return s.securityTokenService(q, body, to)
	}
	caller, err := s.authenticate(q.Request, "kms", q.id, body)
	if err != nil {
		return nil, err
	}
	name, ok := q.operationName()
	op := operations[name]
	if !ok || op == nil || !isAWSJSON(q.Request) {
		return nil, errUnknownOperation
	}
	if !s.config.Throttle.Allow(caller.UserName, name, s.config.Now()) {
		s.config.Metrics.Throttled(name)
		s.trail.add(caller, name, errThrottled)
		return nil, errThrottled
	}
	text, err := op(keysvc.WithCaller(ctx, caller), s.config.Service, body.text, to)
	var malformed *awsjson.Error
	if errors.As(err, &malformed) {
		s.trail.add(caller, name, errSerialization)
	}
	return text, err
}

// operationName is what the header X-Amz-Target asks for.
func (q *request) operationName() (string, bool) {
	return strings.CutPrefix(q.Header.Get("X-Amz-Target"), targetPrefix)
}

// label is the operation's name, or one that stands for all that don't exist.
func (q *request) label() string {
	name, ok := q.operationName()
	switch {
	case q.query:
		return "GetCallerIdentity"
	case !ok || operations[name] == nil:
		return "unknown"
	}
	return name
}

// Operations lists the names of the API's operations that are served.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// isAWSJSON recognises the protocol, whatever the parameters of its media type.
func isAWSJSON(r *http.Request) bool {
	value := r.Header.Get("Content-Type")
	if value == contentType {
		return true
	}
	kind, _, err := mime.ParseMediaType(value)
	return err == nil && kind == contentType
}

// log notes what was refused before it came to an operation, which would have
// recorded it.
func (s *Server) log(q *request, refusal *refusal, err error) {
	var service *keysvc.Error
	switch {
	case errors.As(err, &service):
		s.countTokenFailure(err)
		s.config.Logger.Debug("operation refused", "request", q.id, "error", err)
	case refusal == errFailed:
		s.refusals.write(slog.LevelError, "request failed", q.attributes(err)...)
	default:
		s.refusals.write(slog.LevelWarn, "request refused", q.attributes(err)...)
	}
}

// maxShown is how much of a client's text a line of the log repeats, in bytes.
const maxShown = 64

func (q *request) attributes(err error) []slog.Attr {
	target := q.Header.Get("X-Amz-Target")
	return []slog.Attr{
		slog.String("request", q.id), slog.String("from", q.RemoteAddr), slog.String("method", q.Method),
		slog.String("path", q.URL.Path[:min(len(q.URL.Path), maxShown)]), slog.String("target", target[:min(len(target), maxShown)]),
		slog.Any("error", err),
	}
}

// countTokenFailure counts an operation that failed because of the token, not
// because of what it was asked.
func (s *Server) countTokenFailure(err error) {
	if kind, ok := hsm.KindOf(err); ok && kind != hsm.KindInvalidCiphertext && kind != hsm.KindCanceled {
		s.config.Metrics.TokenFailed(kind.String())
	}
}
