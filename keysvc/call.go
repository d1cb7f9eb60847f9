package keysvc

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/google/uuid"
)

// call is one operation under way: who calls, for what, and what its record will
// say. It belongs to one goroutine.
type call struct {
	s      *Service
	ctx    context.Context
	op     *operation
	caller Caller
	scope  store.Scope
	now    time.Time

	params    audit.Params
	response  audit.Params
	extra     audit.Params // additionalEventData beside the caller's
	resources []audit.Resource
	used      [2]*keySnapshot // the keys in resources; ReEncrypt has two
	secrets   [][]byte        // wiped if the call fails after all
}

// serve is the choke point of the service: it runs an operation and records it,
// whatever came out, before the caller gets the answer. If the record can't be
// written the caller gets no answer.
func serve[In, Out any](s *Service, ctx context.Context, op *operation, in *In, run func(*call, *In) (*Out, error)) (*Out, error) {
	c := s.begin(ctx, op)
	if in == nil {
		in = new(In)
	}
	out, err := checked(c, in, run)
	failure := c.failure(err)
	// A caller that gives up doesn't keep its call out of the record.
	event := c.event(failure)
	if auditErr := s.config.Audit.Append(context.WithoutCancel(ctx), event); auditErr != nil {
		s.config.Logger.Error("the call can't be recorded and fails", "operation", op.name, "error", auditErr)
		failure = c.failure(internal(auditErr))
	}
	if failure != nil {
		c.wipe()
		return nil, failure
	}
	c.noteUse(event)
	return out, nil
}

// checked runs an operation on an input that has the shape of the API.
func checked[In, Out any](c *call, in *In, run func(*call, *In) (*Out, error)) (*Out, error) {
	message, err := c.s.shapes.Check(c.op.name, in)
	switch {
	case err != nil:
		return nil, err
	case message != "":
		return nil, &Error{Kind: KindValidation, Message: message}
	}
	return run(c, in)
}

func (s *Service) begin(ctx context.Context, op *operation) *call {
	caller := s.caller(ctx)
	return &call{
		s: s, ctx: ctx, op: op, caller: caller, now: s.config.Now(),
		scope:  store.Scope{Account: s.config.Account, Region: caller.Region},
		params: make(audit.Params, 4),
	}
}

// failure gives an error the operation's name and logs what the caller won't be
// told.
func (c *call) failure(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		e = internal(err)
	}
	e.Op = c.op.name
	if e.Kind == KindInternal || e.Kind == KindUnavailable || errors.Is(err, store.ErrUnavailable) {
		c.s.config.Logger.Error("operation failed", "operation", e.Op, "resources", c.resources, "error", e)
	}
	return e
}

// touch notes a key as one of the call's resources.
func (c *call) touch(k *keySnapshot) {
	r := audit.Resource{AccountID: k.Account, Type: "AWS::KMS::Key", ARN: k.arn}
	if !slices.Contains(c.resources, r) {
		c.used[min(len(c.resources), len(c.used)-1)] = k
		c.resources = append(c.resources, r)
	}
}

// details notes something for additionalEventData.
func (c *call) details(name string, value any) {
	if c.extra == nil {
		c.extra = audit.Params{}
	}
	c.extra[name] = value
}

// additional is the caller's details and the call's own.
func (c *call) additional() audit.Params {
	if c.extra == nil {
		return c.caller.Details
	}
	maps.Copy(c.extra, c.caller.Details)
	return c.extra
}

// secret notes bytes that must not outlive a failure of the call.
func (c *call) secret(p []byte) []byte {
	c.secrets = append(c.secrets, p)
	return p
}

func (c *call) wipe() {
	for _, p := range c.secrets {
		clear(p)
	}
}

// requestID names the call in its record and wherever else it is told of.
func (c *call) requestID() string {
	if c.caller.RequestID == "" {
		c.caller.RequestID = uuid.NewString()
	}
	return c.caller.RequestID
}

// event is the call's record.
func (c *call) event(failure *Error) *audit.Event {
	e := &audit.Event{
		UserIdentity:        c.caller.identity(),
		EventName:           c.op.name,
		AWSRegion:           c.scope.Region,
		SourceIPAddress:     c.caller.SourceIP,
		UserAgent:           c.caller.UserAgent,
		AdditionalEventData: c.additional(),
		RequestID:           c.requestID(),
		EventID:             uuid.NewString(),
		ReadOnly:            !c.op.mutating,
		Resources:           c.resources,
		EventType:           audit.TypeAPICall,
		RecipientAccountID:  c.scope.Account,
	}
	e.Stamp(c.now)
	if len(c.params) > 0 {
		e.RequestParameters = c.params
	}
	if failure != nil {
		e.ErrorCode, e.ErrorMessage = failure.ErrorCode(), cut(failure.Message)
	} else {
		e.ResponseElements = c.response
	}
	return e
}
