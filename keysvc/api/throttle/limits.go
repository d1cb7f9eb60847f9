package throttle

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxBuckets bounds what is remembered; beyond it everybody starts anew.
const maxBuckets = 16384

type bucket struct{ principal, group string }

// Limits counts requests.
type Limits struct {
	config Config

	mu      sync.Mutex // guards buckets
	buckets map[bucket]*rate.Limiter
}

// New returns limits that nobody has used yet.
func New(config Config) *Limits {
	return &Limits{config: config, buckets: map[bucket]*rate.Limiter{}}
}

// Allow counts a request and tells whether it may go on. A principal is named as
// in the configuration. A nil *Limits allows everything.
func (l *Limits) Allow(principal, operation string, now time.Time) bool {
	if l == nil {
		return true
	}
	of := bucket{principal, group(operation)}
	perSecond, limited := l.config.rate(principal, of.group)
	if !limited {
		return true
	}
	return l.bucket(of, perSecond).AllowN(now, 1)
}

func (l *Limits) bucket(of bucket, perSecond float64) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[of]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			clear(l.buckets)
		}
		b = rate.NewLimiter(rate.Limit(perSecond), int(math.Ceil(perSecond)))
		l.buckets[of] = b
	}
	return b
}
