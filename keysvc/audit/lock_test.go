package audit

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestIdleAppenderLetsOthersHaveTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	idle, other := newTrail(t, Config{Path: path}), newTrail(t, Config{Path: path, LockTimeout: time.Second})
	for i := range 20 {
		appendAll(t, idle, fmt.Sprint("idle", i))
		appendAll(t, other, fmt.Sprint("other", i))
	}
	wantIntact(t, path, 40)
}

// Each of several appenders that never pause must get its turn.
func TestBusyAppendersTakeTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	const appenders, each = 4, 200
	var left atomic.Int64
	left.Store(appenders)
	var group sync.WaitGroup
	for i := range appenders {
		l := newTrail(t, Config{Path: path})
		group.Go(func() {
			n := 0
			for ; n < each || left.Load() > 0; n++ {
				if err := l.Append(t.Context(), event(fmt.Sprintf("%d-%d", i, n))); err != nil {
					t.Errorf("appender %d after %d records: %v", i, n, err)
					left.Add(-1)
					return
				}
				if n == each-1 {
					left.Add(-1) // and goes on, in the way of the others
				}
			}
		})
	}
	group.Wait()
	if r := verify(t, path); !r.Intact() || r.Records < appenders*each {
		t.Errorf("report %+v", r)
	}
}

func TestClaimOfADeadProcessIsVoidSoon(t *testing.T) {
	l := newTrail(t, Config{})
	now := time.Now()
	for _, c := range []struct {
		until time.Duration
		want  bool
	}{
		{-time.Nanosecond, false},
		{claimFor / 2, true},
		{claimFor, true},
		{claimFor + 1, false}, // the clock was set back, or the file is damaged
		{time.Hour, false},
	} {
		if err := l.lock.wanted.Store(uint64(now.Add(c.until).UnixNano())); err != nil {
			t.Fatal(err)
		}
		if got := l.lock.claimed(now); got != c.want {
			t.Errorf("%v ahead: claimed is %v", c.until, got)
		}
	}
	appendAll(t, l, "a")
	if l.lock.wanted.Load() != 0 {
		t.Error("the claim stays when the lock was had")
	}
}
