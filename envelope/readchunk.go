package envelope

import "sync"

// chunkRead is a compressed chunk to be read as a whole.
type chunkRead struct {
	chunk  uint64
	shape  shape
	dst    []byte // as long as the content
	stream []byte
}

// readPacked reads the first part of p, which begins in a compressed chunk: as many whole chunks as
// follow one another, else what p has of the first one.
func (f *File) readPacked(op string, p []byte, off uint64) (int, error) {
	var list [batchBlocks / chunkBlocks]chunkRead
	n, got := 0, 0
	c := cursor{f: f, op: op}
	for off%chunkSize == 0 && n < len(list) {
		chunk := (off + uint64(got)) / chunkSize
		s, err := c.shape(chunk)
		if err != nil || s == (shape{}) || s.bytes() > len(p)-got {
			break // an error shows when that chunk's turn comes
		}
		list[n] = chunkRead{chunk: chunk, shape: s, dst: p[got : got+s.bytes()]}
		got += s.bytes()
		n++
		if s.bytes() < chunkSize {
			break // a hole follows
		}
	}
	if n > 0 {
		return f.readChunks(op, list[:n])
	}
	return f.readInChunk(op, p, off)
}

// readInChunk reads bytes of the compressed chunk that off lies in.
func (f *File) readInChunk(op string, p []byte, off uint64) (int, error) {
	chunk, in := off/chunkSize, int(off%chunkSize)
	c := cursor{f: f, op: op}
	s, err := c.shape(chunk)
	if err != nil {
		return 0, err
	}
	p = p[:min(len(p), s.bytes()-in)]
	if f.chunks.copy(p, chunk, in) {
		return len(p), nil
	}
	content := newChunkBuffer()
	if err := f.readChunk(op, chunk, s, content); err != nil {
		content.release()
		return 0, err
	}
	copy(p, content.p[in:])
	f.chunks.put(chunk, content)
	return len(p), nil
}

// readChunk reads one compressed chunk, past the cache.
func (f *File) readChunk(op string, chunk uint64, s shape, to *chunkBuffer) error {
	_, err := f.readChunks(op, []chunkRead{{chunk: chunk, shape: s, dst: to.p[:s.bytes()]}})
	return err
}

// readChunks reads compressed chunks that follow one another and returns how many bytes from the
// first on are good.
func (f *File) readChunks(op string, list []chunkRead) (int, error) {
	b := getBatch()
	defer b.release(batchBlocks)
	jobs, err := f.streamJobs(op, b, list)
	if err != nil {
		return 0, err
	}
	slab := b.slab[:len(jobs)*PageSize]
	defer clear(slab)
	read, err := f.fetchPages(op, jobs)
	whole := len(list)
	if err != nil {
		for whole = 0; int(list[whole].shape.pages) <= read; whole++ {
			read -= int(list[whole].shape.pages)
		}
	}
	unpacked, bad := f.unpackChunks(list[:whole])
	if bad != nil {
		err = f.corrupt(op, int64(list[unpacked].chunk*chunkBlocks), bad)
	}
	good := 0
	for _, r := range list[:unpacked] {
		good += len(r.dst)
	}
	return good, err
}

// streamJobs makes the jobs for all pages of the streams, which go to the slab of b.
func (f *File) streamJobs(op string, b *batch, list []chunkRead) ([]pageJob, error) {
	slab := b.slabFor(batchBlocks)
	c := cursor{f: f, op: op}
	n := 0
	for i := range list {
		r := &list[i]
		r.stream = slab[n*PageSize:][:int(r.shape.pages)*PageSize]
		for k := range uint64(r.shape.pages) {
			id := nodeID{0, r.chunk*chunkBlocks + k}
			e, err := c.entry(id.index)
			if err != nil {
				return nil, err
			}
			b.jobs[n] = pageJob{id: id, shape: r.shape, e: e, plain: slab[n*PageSize : (n+1)*PageSize : len(slab)], at: n}
			n++
		}
	}
	return b.jobs[:n], nil
}

// unpackChunks decompresses the streams of list, which are authentic. On failure it returns the
// lowest failing index.
func (f *File) unpackChunks(list []chunkRead) (failed int, err error) {
	var mu sync.Mutex
	failed = len(list)
	spread(len(list), f.workers, func(lo, hi int) {
		u := unpackerPool.Get().(*unpacker)
		defer u.release()
		for i := lo; i < hi; i++ {
			if e := u.unpack(list[i].dst, list[i].stream); e != nil {
				mu.Lock()
				defer mu.Unlock()
				if i < failed {
					failed, err = i, e
				}
				return
			}
		}
	})
	return failed, err
}
