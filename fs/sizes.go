package fs

import "sync"

// sizes remembers what an open found a file's size to be, by inode number in the store, where the
// store holds a wrong hint and does not take another one.
type sizes struct {
	mu    sync.Mutex // leaf lock
	known map[uint64]int64
}

func (z *sizes) put(ino uint64, size int64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.known == nil {
		z.known = make(map[uint64]int64)
	}
	z.known[ino] = size
}

func (z *sizes) get(ino uint64) (size int64, ok bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	size, ok = z.known[ino]
	return size, ok
}

// drop forgets a size that is no longer right.
func (z *sizes) drop(ino uint64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.known, ino)
}
