package fs

import "sync"

// wrapGate tells when nothing is under way any more that began to wrap a key before a certain moment:
// a new file, name or path whose slot is not in its place yet. No lock is held meanwhile.
type wrapGate struct {
	mu      sync.Mutex // leaf lock
	running *sync.WaitGroup
}

// enter begins something that wraps a key; call done when its slot and its name are where others find
// them, or when it has failed.
func (g *wrapGate) enter() (done func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running == nil {
		g.running = new(sync.WaitGroup)
	}
	g.running.Add(1)
	return g.running.Done
}

// drain waits for what is running now; what begins meanwhile is not waited for. The caller holds none of
// the locks that requests take.
func (g *wrapGate) drain() {
	g.mu.Lock()
	before := g.running
	g.running = nil
	g.mu.Unlock()
	if before != nil {
		before.Wait()
	}
}
