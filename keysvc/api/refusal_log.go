package api

import (
	"context"
	"log/slog"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// What the log takes of refused requests: anybody can send them, so that there
// must be fewer lines than requests.
const (
	refusalLines = 10 // a second
	refusalBurst = 100
)

// refusalLog writes lines about refused requests, up to a rate. A line tells how
// many were left out before it.
type refusalLog struct {
	logger  *slog.Logger
	limit   *rate.Limiter
	leftOut atomic.Int64
}

func newRefusalLog(logger *slog.Logger) *refusalLog {
	return &refusalLog{logger: logger, limit: rate.NewLimiter(refusalLines, refusalBurst)}
}

func (l *refusalLog) write(level slog.Level, message string, attributes ...slog.Attr) {
	if !l.limit.Allow() {
		l.leftOut.Add(1)
		return
	}
	if n := l.leftOut.Swap(0); n > 0 {
		attributes = append(attributes, slog.Int64("left_out", n))
	}
	l.logger.LogAttrs(context.Background(), level, message, attributes...)
}
