package envelope

const (
	// chunkBlocks is the number of blocks that are compressed together; a tag page holds whole chunks.
	chunkBlocks = 16
	// chunkSize is the length of a chunk's content, in bytes (64 KiB).
	chunkSize = chunkBlocks * PageSize
)

// shape says how a compressed chunk is stored: so many pages of a stream hold so many blocks. It is
// zero for a chunk that is not compressed.
//
// The entries of the chunk are then: pages times entryStream, entryRest up to blocks, holes.
type shape struct{ pages, blocks uint8 }

// pays reports whether at least one page in eight is saved; other shapes do not exist.
func (s shape) pays() bool {
	return s.pages > 0 && s.pages < s.blocks && 8*(s.blocks-s.pages) >= s.blocks
}

// bytes returns the length of the content, in bytes.
func (s shape) bytes() int { return int(s.blocks) * PageSize }

// shapeOf returns the shape of a chunk whose n entries have the flags that flag tells. A shape that
// does not pay stands for flags that no chunk has.
func shapeOf(n int, flag func(i int) uint8) (s shape) {
	n = min(n, chunkBlocks)
	i := 0
	for i < n && flag(i) == entryStream {
		i++
	}
	s.pages = uint8(i)
	for i < n && flag(i) == entryRest {
		i++
	}
	s.blocks = uint8(i)
	for ; i < n; i++ {
		if flag(i) != 0 {
			return shape{pages: 1, blocks: 1}
		}
	}
	return s
}

// shape returns the shape of the chunk whose first entry is entry i.
func (n *node) shape(i int) shape {
	return shapeOf(fanOut-i, func(k int) uint8 { return n.slot(i + k)[5] })
}

// rootShape returns the shape of the chunk whose first entry is entry i of a root of height 0.
func rootShape(entries []entry, i int) shape {
	return shapeOf(len(entries)-i, func(k int) uint8 { return entries[i+k].flags })
}

// shape returns the shape of a chunk of the tree.
func (c *cursor) shape(chunk uint64) (shape, error) {
	first := chunk * chunkBlocks
	if e, err := c.entry(first); err != nil || e.flags == 0 {
		return shape{}, err
	}
	if c.f.height == 0 {
		return rootShape(c.f.roots, int(first)), nil
	}
	return c.node.shape(int(first % fanOut)), nil
}

// loosen takes a compressed chunk apart before a part of it changes: its blocks go to buffers, and
// its entries become holes, so that the tree never holds part of a stream. The blocks are stored raw
// from then on, until the chunk is written as a whole: a database must not pay for 16 blocks with
// each that it writes.
func (f *File) loosen(op string, chunk uint64) error {
	c := cursor{f: f, op: op}
	s, err := c.shape(chunk)
	if err != nil || s == (shape{}) {
		return err
	}
	content := newChunkBuffer()
	defer content.release()
	if err := f.readChunk(op, chunk, s, content); err != nil {
		return err
	}
	first := chunk * chunkBlocks
	leaf, err := f.dirtyLeaf(op, first)
	if err != nil {
		return err
	}
	for i := range int(s.blocks) {
		f.setBlockEntry(leaf, first+uint64(i), &entry{})
		b := newBlockBuffer()
		copy(b.p[:], content.p[i*PageSize:])
		b.loose = true
		f.dirty[first+uint64(i)] = b
	}
	return nil
}

// loosenEdges takes apart the chunks that the blocks from lo up to hi cover only in part.
func (f *File) loosenEdges(op string, lo, hi uint64) error {
	for _, edge := range []uint64{lo, hi} {
		if edge%chunkBlocks == 0 {
			continue
		}
		if err := f.loosen(op, edge/chunkBlocks); err != nil {
			return err
		}
	}
	return nil
}

// completeChunk runs when an append from the old size on has reached the end of the chunk that it
// began in. What was written of that chunk before comes back to the buffers, so that a file that
// grows slowly is compressed all the same. A failure to read it only costs space.
func (f *File) completeChunk(op string, oldSize uint64) {
	first := oldSize / chunkSize * chunkBlocks
	c := cursor{f: f, op: op}
	for i := range uint64(chunkBlocks) {
		if e, err := c.entry(first + i); f.dirty[first+i] == nil && (err != nil || e.hole()) {
			return
		}
	}
	for i := range uint64(chunkBlocks) {
		b, err := f.buffer(op, first+i, false)
		if err != nil {
			return
		}
		b.loose = false
	}
}
