package postgres

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// leaseTime is how long an answer of the database counts, from when it was asked.
	leaseTime = time.Second
	// askEvery is how often it is asked. A few answers may be late without anybody having to read
	// again what has not changed.
	askEvery = leaseTime / 4
)

// noGeneration is the number of no state.
const noGeneration = math.MaxUint64

// A generation as the package shows it is the database's (its low bits) in a session of the listening
// connection. A new session distrusts what was read before it: the server may be another one, to which a
// failover has brought fewer updates, or one that was restored from a backup.
const sessionShift = 40

// generations is what a store knows about the generation of the database.
type generations struct {
	born time.Time // what until counts from

	mu    sync.Mutex    // held by what changes shown and until; nothing is locked under it
	shown atomic.Uint64 // the newest generation heard of
	until atomic.Int64  // nanoseconds; shown counts as the newest up to then
}

// load is [store.Store.Generation].
func (g *generations) load() uint64 {
	if int64(time.Since(g.born)) >= g.until.Load() {
		return noGeneration
	}
	return g.shown.Load()
}

// session is the listening connection's number, which a transaction notes before it begins.
func (g *generations) session() uint64 { return g.shown.Load() >> sessionShift }

// in is how a generation that was read in a session is shown.
func in(session, generation uint64) uint64 { return session<<sessionShift | generation }

// restart begins a session, which knows nothing yet.
func (g *generations) restart() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until.Store(0)
	g.shown.Store(in(g.session()+1, 0))
}

// heard notes that there is a generation. Those that come late change nothing.
func (g *generations) heard(generation uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shown.Store(max(g.shown.Load(), in(g.session(), generation)))
}

// confirm notes the answer to a question that was asked at a time.
func (g *generations) confirm(generation uint64, asked time.Time) {
	g.heard(generation)
	g.until.Store(int64(asked.Add(leaseTime).Sub(g.born)))
}

// end makes every later load fail to name a state.
func (g *generations) end() { g.until.Store(0) }
