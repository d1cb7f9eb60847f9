package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/keysvc"
)

// trailPause is how long a refusal of the same kind has no record of its own
// after one that has.
const trailPause = time.Second

// trailTime bounds the writing of a record.
const trailTime = 10 * time.Second

// refusalTrail records calls of principals that were refused before they came to
// an operation, as CloudTrail does: too many of them, or with a body that can't be
// read. The first is recorded before it is answered. While the same principal goes
// on with the same, there is one record a second, of the last call, that says how
// many others there were: what is refused costs its sender nothing, so it must
// not fill the disk either.
type refusalTrail struct {
	service *keysvc.Service
	logger  *slog.Logger
	pause   time.Duration

	mu     sync.Mutex // guards what follows; nothing is written under it
	open   map[refusalKind]*refusalSeries
	closed bool
}

type refusalKind struct{ principal, operation, code string }

// refusalSeries is what was refused since the last record.
type refusalSeries struct {
	calls int
	last  refusedCall
	timer *time.Timer
}

// refusedCall is who called and what was refused.
type refusedCall struct {
	caller  keysvc.Caller
	refusal keysvc.Refusal
}

func newRefusalTrail(service *keysvc.Service, logger *slog.Logger) *refusalTrail {
	return &refusalTrail{service: service, logger: logger, pause: trailPause, open: map[refusalKind]*refusalSeries{}}
}

// add records a refused call, or counts it.
func (t *refusalTrail) add(caller keysvc.Caller, operation string, why *refusal) {
	call := refusedCall{caller, keysvc.Refusal{Operation: operation, Code: why.name, Message: why.message}}
	if t.isFirst(refusalKind{caller.ARN, operation, why.name}, call) {
		t.record(call)
	}
}

// isFirst counts a call; the first one opens a series.
func (t *refusalTrail) isFirst(kind refusalKind, call refusedCall) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return true
	}
	if series := t.open[kind]; series != nil {
		series.calls++
		series.last = call
		return false
	}
	t.open[kind] = &refusalSeries{timer: time.AfterFunc(t.pause, func() { t.pass(kind) })}
	return true
}

// pass ends a pause: with a record if there was something to record, else with
// the end of the series.
func (t *refusalTrail) pass(kind refusalKind) {
	t.mu.Lock()
	series := t.open[kind]
	if series == nil || series.calls == 0 {
		delete(t.open, kind)
		t.mu.Unlock()
		return
	}
	call := series.take()
	series.timer.Reset(t.pause)
	t.mu.Unlock()
	t.record(call)
}

// take empties a series that isn't empty: its last call stands for all of them.
func (s *refusalSeries) take() refusedCall {
	s.last.refusal.Others = s.calls - 1
	s.calls = 0
	return s.last
}

// close records what has no record yet.
func (t *refusalTrail) close() {
	t.mu.Lock()
	t.closed = true
	var rest []refusedCall
	for _, series := range t.open {
		series.timer.Stop()
		if series.calls > 0 {
			rest = append(rest, series.take())
		}
	}
	clear(t.open)
	t.mu.Unlock()
	for _, call := range rest {
		t.record(call)
	}
}

func (t *refusalTrail) record(call refusedCall) {
	ctx, cancel := context.WithTimeout(context.Background(), trailTime)
	defer cancel()
	if err := t.service.RecordRefusal(keysvc.WithCaller(ctx, call.caller), call.refusal); err != nil {
		t.logger.Error("a refused call can't be recorded", "operation", call.refusal.Operation, "error", err)
	}
}
