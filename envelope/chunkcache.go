package envelope

import "sync"

// maxCachedChunks bounds the decompressed chunks kept in memory per file (256 KiB).
const maxCachedChunks = 4

// chunkBuffer holds the plaintext of one chunk.
type chunkBuffer struct{ p [chunkSize]byte }

var chunkPool = sync.Pool{New: func() any { return new(chunkBuffer) }}

func newChunkBuffer() *chunkBuffer { return chunkPool.Get().(*chunkBuffer) }

// release wipes the buffer and returns it to the pool.
func (b *chunkBuffer) release() {
	clear(b.p[:])
	chunkPool.Put(b)
}

// chunkCache keeps the chunks read last, so that small reads decompress a chunk once. Readers fill
// it under the file's lock for reading; who changes a chunk in the tree holds that lock for writing
// and drops the chunk here.
type chunkCache struct {
	mu   sync.Mutex
	list []cachedChunk // the most recently used last
}

type cachedChunk struct {
	chunk  uint64
	buffer *chunkBuffer
}

// copy copies the bytes of chunk from its offset in on to p, if the chunk is there.
func (c *chunkCache) copy(p []byte, chunk uint64, in int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range c.list {
		if e.chunk == chunk {
			copy(c.list[i:], c.list[i+1:])
			c.list[len(c.list)-1] = e
			copy(p, e.buffer.p[in:])
			return true
		}
	}
	return false
}

// put adds a chunk, whose buffer it takes over.
func (c *chunkCache) put(chunk uint64, b *chunkBuffer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(chunk) // another reader was faster
	if len(c.list) == maxCachedChunks {
		c.forget(c.list[0].chunk)
	}
	c.list = append(c.list, cachedChunk{chunk, b})
}

// drop forgets a chunk.
func (c *chunkCache) drop(chunk uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(chunk)
}

// dropAll forgets every chunk.
func (c *chunkCache) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.list {
		e.buffer.release()
	}
	c.list = nil
}

// forget is drop under the lock.
func (c *chunkCache) forget(chunk uint64) {
	for i, e := range c.list {
		if e.chunk == chunk {
			e.buffer.release()
			c.list = append(c.list[:i], c.list[i+1:]...)
			return
		}
	}
}
