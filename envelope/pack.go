package envelope

// pack is a chunk in a batch that may be stored compressed.
type pack struct {
	lo, hi int // its jobs
	shape  shape
	stream *streamBuffer
}

// first returns the first block of the chunk.
func (p *pack) first(jobs []pageJob) uint64 { return jobs[p.lo].id.index }

// packChunks compresses what pays among the first n jobs of b, puts the pages of the streams in place
// of the blocks, and returns the jobs that are left. b.packs then holds the compressed chunks, with
// lo and hi the jobs of their pages.
func (f *File) packChunks(b *batch, n int) []pageJob {
	b.findWholeChunks(n, f.blocks())
	spread(len(b.packs), f.workers, func(lo, hi int) {
		p := packerPool.Get().(*packer)
		defer p.release()
		for i := range b.packs[lo:hi] {
			b.packs[lo+i].compress(p, b.jobs[:n])
		}
	})
	return b.substitute(n)
}

// findWholeChunks lists the chunks that the first n jobs cover as far as the file reaches.
func (b *batch) findWholeChunks(n int, end uint64) {
	b.packs = b.packList[:0]
	for lo, hi := 0, 0; lo < n; lo = hi {
		chunk, whole := b.jobs[lo].id.index/chunkBlocks, !b.jobs[lo].raw
		for hi = lo + 1; hi < n && b.jobs[hi].id.index/chunkBlocks == chunk; hi++ {
			whole = whole && !b.jobs[hi].raw
		}
		after := chunk*chunkBlocks + uint64(hi-lo)
		if whole && hi-lo > 1 && b.jobs[lo].id.index%chunkBlocks == 0 && (hi-lo == chunkBlocks || after == end) {
			b.packs = append(b.packs, pack{lo: lo, hi: hi})
		}
	}
}

// compress compresses the chunk.
func (p *pack) compress(z *packer, jobs []pageJob) {
	for i, j := range jobs[p.lo:p.hi] {
		copy(z.plain[i*PageSize:], j.plain)
	}
	p.stream = newStreamBuffer()
	p.shape = z.pack(p.hi-p.lo, p.stream)
}

// substitute replaces the jobs of compressed chunks.
func (b *batch) substitute(n int) []pageJob {
	kept, done, packed := 0, 0, 0
	for _, p := range b.packs {
		if p.shape == (shape{}) {
			p.stream.release()
			continue
		}
		kept += copy(b.jobs[kept:], b.jobs[done:p.lo])
		done = p.hi
		first := p.first(b.jobs[:])
		p.lo = kept
		for i := range int(p.shape.pages) {
			b.jobs[kept] = pageJob{id: nodeID{0, first + uint64(i)}, shape: p.shape, plain: p.stream.p[i*PageSize:][:PageSize]}
			b.jobs[kept].e.flags = entryStream
			kept++
		}
		p.hi = kept
		b.packs[packed] = p
		packed++
	}
	kept += copy(b.jobs[kept:], b.jobs[done:n])
	b.packs = b.packs[:packed]
	return b.jobs[:kept]
}

// linkRest marks the blocks of the compressed chunks that have no page of their own.
func (f *File) linkRest(b *batch, jobs []pageJob) {
	for i := range b.packs {
		p := &b.packs[i]
		var rest [chunkBlocks]pageJob
		n := 0
		for k := int(p.shape.pages); k < int(p.shape.blocks); k++ {
			rest[n].id, rest[n].e.flags = nodeID{0, p.first(jobs) + uint64(k)}, entryRest
			n++
		}
		f.linkBlocks(rest[:n])
	}
}

// releasePacks wipes the streams of the batch.
func (b *batch) releasePacks() {
	for i := range b.packs {
		b.packs[i].stream.release()
	}
	b.packs = nil
}
