package patience

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// maxBackoff bounds the pause after an answer that says "not now".
const maxBackoff = 5 * time.Second

// Patience is how one client of a key service waits.
type Patience struct {
	wait        time.Duration
	gate        *gate
	connections connections
}

// New makes the patience of one client, each of whose calls may take wait.
func New(wait time.Duration) *Patience {
	p := &Patience{wait: wait, gate: newGate()}
	p.connections.silence = p.attempt()
	return p
}

// attempt is how long one attempt may take.
func (p *Patience) attempt() time.Duration { return p.wait / 2 }

// Transport makes a transport give up what does not answer in time.
func (p *Patience) Transport(t *http.Transport) {
	t.ResponseHeaderTimeout, t.TLSHandshakeTimeout = p.attempt(), p.attempt()
	t.MaxIdleConnsPerHost = t.MaxIdleConns
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: p.attempt(), PingTimeout: p.attempt()}
	t.DialContext = p.connections.dial(t.DialContext)
}

// Options configure the AWS SDK's clients.
func (p *Patience) Options() []func(*config.LoadOptions) error {
	stack := func(s *middleware.Stack) error {
		bounded := middleware.InitializeMiddlewareFunc("kmsfs.Wait", p.bound)
		if err := s.Initialize.Add(bounded, middleware.Before); err != nil {
			return err
		}
		return s.Finalize.Insert(middleware.FinalizeMiddlewareFunc("kmsfs.Gate", p.pass), "Retry", middleware.After)
	}
	own := newRetryer()
	return []func(*config.LoadOptions) error{
		config.WithAPIOptions([]func(*middleware.Stack) error{stack}),
		config.WithRetryer(func() aws.Retryer { return own }),
	}
}

// failure is what the last attempt of a call came to.
type failure struct{ err error }

type failureKey struct{}

// insideKey marks the context of an attempt that the gate has let in.
type insideKey struct{}

// bound ends a call when the wait is over, with the error of its last attempt.
func (p *Patience) bound(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	out middleware.InitializeOutput, meta middleware.Metadata, err error,
) {
	waiting, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	last := new(failure)
	out, meta, err = next.HandleInitialize(context.WithValue(waiting, failureKey{}, last), in)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %v: %w", p.wait, cmp.Or(last.err, waiting.Err()))
	}
	return out, meta, err
}

// pass makes one attempt, when the gate lets it.
func (p *Patience) pass(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	out middleware.FinalizeOutput, meta middleware.Metadata, err error,
) {
	last := ctx.Value(failureKey{}).(*failure) // of bound
	if ctx.Value(insideKey{}) != nil {
		out, meta, last.err = p.passInside(ctx, in, next)
		return out, meta, last.err
	}
	leave, err := p.gate.enter(ctx)
	if err != nil {
		last.err = cmp.Or(last.err, p.gate.cause())
		return out, meta, err
	}
	out, meta, err = next.HandleFinalize(context.WithValue(ctx, insideKey{}, true), in)
	switch {
	case err != nil && ctx.Err() != nil:
		leave(unknown, nil)
		last.err = cmp.Or(last.err, p.gate.cause())
		return out, meta, err
	case unanswered(err):
		p.connections.closeSilent()
		leave(down, err)
	default:
		leave(up, nil)
	}
	last.err = err
	return out, meta, err
}

// passInside makes an attempt for another one that the gate has let in, such as one to get credentials from the
// Security Token Service: it would wait for the turn that the other has.
func (p *Patience) passInside(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	middleware.FinalizeOutput, middleware.Metadata, error,
) {
	out, meta, err := next.HandleFinalize(ctx, in)
	if unanswered(err) && ctx.Err() == nil {
		p.gate.learn(down, err)
		select {
		case <-ctx.Done():
		case <-time.After(probePause): // which the gate makes for others
		}
	}
	return out, meta, err
}

// unanswered tells whether an attempt reached no key service: nobody answered, or not in its protocol, or
// somebody on the way who says that it cannot be reached.
func unanswered(err error) bool {
	if err == nil {
		return false
	}
	if answer := new(smithyhttp.ResponseError); errors.As(err, &answer) {
		switch answer.HTTPStatusCode() {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
	}
	var api smithy.APIError
	return !errors.As(err, &api)
}

// retryer tries again until the wait is over.
type retryer struct{ *retry.Standard }

func newRetryer() retryer {
	return retryer{retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxBackoff, o.RateLimiter = maxBackoff, ratelimit.None
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(retryable)}, o.Retryables...)
	})}
}

// MaxAttempts implements aws.Retryer: 0 is any number.
func (retryer) MaxAttempts() int { return 0 }

// RetryDelay implements aws.Retryer. While nobody answers, the gate makes the pause.
func (r retryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	if unanswered(err) {
		return 0, nil
	}
	return r.Standard.RetryDelay(attempt, err)
}

// retryable decides before the SDK does. A certificate of somebody else does not become the right one by
// waiting; an answer that was cut off was on its way.
func retryable(err error) aws.Ternary {
	var cut *smithy.DeserializationError
	switch {
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return aws.FalseTernary
	case errors.As(err, &cut) && unanswered(err):
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}
