package fs

import (
	"container/list"
	"sync"

	"github.com/kmsfs/kmsfs/fs/backing"
)

// dirCache keeps the store's directories open that were used last, so that an operation costs one
// system call relative to its directory instead of a walk from the root.
type dirCache struct {
	mu   sync.Mutex
	max  int
	lru  *list.List // of *dirHandle, most recently used first
	open map[*inode]*dirHandle
}

// dirHandle is an open directory. It stays open while refs > 0 or while it is cached.
type dirHandle struct {
	*backing.Dir
	in     *inode
	refs   int
	cached bool
	elem   *list.Element
}

func newDirCache(max int) *dirCache {
	return &dirCache{max: max, lru: list.New(), open: make(map[*inode]*dirHandle)}
}

// get returns the cached handle of in with one more reference, or nil.
func (c *dirCache) get(in *inode) *dirHandle {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.open[in]
	if h != nil {
		h.refs++
		c.lru.MoveToFront(h.elem)
	}
	return h
}

// put caches dir as in's and returns it with one reference. When another was faster, dir is closed.
func (c *dirCache) put(in *inode, dir *backing.Dir) *dirHandle {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.open[in]; h != nil {
		h.refs++
		dir.Close()
		return h
	}
	h := &dirHandle{Dir: dir, in: in, refs: 1, cached: true}
	h.elem = c.lru.PushFront(h)
	c.open[in] = h
	c.evict()
	return h
}

// evict drops the least recently used handles beyond max; c.mu is held.
func (c *dirCache) evict() {
	for e := c.lru.Back(); e != nil && c.lru.Len() > c.max; {
		prev := e.Prev()
		if h := e.Value.(*dirHandle); h.refs == 0 {
			c.uncache(h)
		}
		e = prev
	}
}

// uncache removes h from the cache and closes it when it is not in use; c.mu is held.
func (c *dirCache) uncache(h *dirHandle) {
	if !h.cached {
		return
	}
	h.cached = false
	c.lru.Remove(h.elem)
	delete(c.open, h.in)
	if h.refs == 0 {
		h.Close()
	}
}

// release gives back a reference.
func (c *dirCache) release(h *dirHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.refs--
	if h.refs == 0 && !h.cached {
		h.Close()
	}
}

// drop removes in's handle, as after rmdir.
func (c *dirCache) drop(in *inode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.open[in]; h != nil {
		c.uncache(h)
	}
}

// closeAll closes what is not in use, at the end of a mount.
func (c *dirCache) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.open {
		c.uncache(h)
	}
}

// dir returns in's open directory; release it with s.dirs.release.
func (s *fileSystem) dir(in *inode) (*dirHandle, error) {
	if h := s.dirs.get(in); h != nil {
		return h, nil
	}
	p, ok := s.tree.where(in)
	if !ok {
		return nil, s.tree.nameless(in)
	}
	up, err := s.dir(p.dir)
	if err != nil {
		return nil, err
	}
	defer s.dirs.release(up)
	d, err := up.OpenDir(p.store)
	if err != nil {
		return nil, err
	}
	return s.dirs.put(in, d), nil
}
