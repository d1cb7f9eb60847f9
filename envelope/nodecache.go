package envelope

import (
	"cmp"
	"slices"
	"sync"
)

// maxCleanNodes bounds the clean tag pages kept in memory per file (1 MiB).
const maxCleanNodes = 256

// nodeCache holds tag pages in memory: dirty ones until they are written, clean ones in LRU order.
// Its lock allows readers to look up at the same time; dirty nodes change under the file's lock.
type nodeCache struct {
	mu    sync.Mutex
	dirty map[nodeID]*node
	clean map[nodeID]*node
	lru   node // sentinel: lru.next is the most recently used
}

// init empties the cache.
func (c *nodeCache) init() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty, c.clean = make(map[nodeID]*node), make(map[nodeID]*node)
	c.lru.next, c.lru.prev = &c.lru, &c.lru
}

// get returns the cached node, or nil.
func (c *nodeCache) get(id nodeID) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.dirty[id]; n != nil {
		return n
	}
	n := c.clean[id]
	if n != nil {
		n.unlink()
		c.push(n)
	}
	return n
}

// isDirty reports whether the node is waiting to be written.
func (c *nodeCache) isDirty(id nodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dirty[id] != nil
}

// putClean adds a node just read or written, and drops the least recently used beyond the bound.
func (c *nodeCache) putClean(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.dirty, n.id)
	if old := c.clean[n.id]; old != nil {
		old.unlink()
	}
	c.clean[n.id] = n
	c.push(n)
	for len(c.clean) > maxCleanNodes {
		last := c.lru.prev
		last.unlink()
		delete(c.clean, last.id)
	}
}

// putDirty adds a node that waits to be written.
func (c *nodeCache) putDirty(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(n.id)
	c.dirty[n.id] = n
}

// remove drops the node whatever its state.
func (c *nodeCache) remove(id nodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(id)
	delete(c.dirty, id)
}

// forget drops a clean node.
func (c *nodeCache) forget(id nodeID) {
	if n := c.clean[id]; n != nil {
		n.unlink()
		delete(c.clean, id)
	}
}

// dirtyCount returns the number of nodes that wait to be written.
func (c *nodeCache) dirtyCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.dirty)
}

// dirtyAt returns the dirty nodes of one height in ascending order.
func (c *nodeCache) dirtyAt(height uint8) []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*node
	for id, n := range c.dirty {
		if id.height == height {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b *node) int { return cmp.Compare(a.id.index, b.id.index) })
	return list
}

func (c *nodeCache) push(n *node) {
	n.prev, n.next = &c.lru, c.lru.next
	n.prev.next, n.next.prev = n, n
}

func (n *node) unlink() {
	if n.prev != nil {
		n.prev.next, n.next.prev = n.next, n.prev
		n.prev, n.next = nil, nil
	}
}
