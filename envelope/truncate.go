package envelope

// Truncate sets the size. Growing adds a hole; shrinking frees what is beyond. KindTooLarge beyond
// MaxFileSize.
func (f *File) Truncate(size int64) error {
	const op = "truncate"
	if err := f.checkRange(op, size, 0); err != nil {
		return err
	}
	if err := f.relieve(op); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable(op); err != nil || uint64(size) == f.size {
		return err
	}
	if uint64(size) < f.size {
		if err := f.shrink(op, uint64(size)); err != nil {
			return err
		}
		f.shrunk = true
	}
	f.size = uint64(size)
	f.changed = true
	return nil
}

// shrink drops what lies beyond size and zeroes the tail of the last block.
func (f *File) shrink(op string, size uint64) error {
	if size == 0 {
		f.dropEverything()
		return nil
	}
	if in := size % PageSize; in != 0 {
		if err := f.zeroInBlock(op, size/PageSize, int(in), PageSize); err != nil {
			return err
		}
	}
	return f.dropBlocks(op, (size+PageSize-1)/PageSize, MaxFileSize/PageSize)
}

// dropEverything empties the tree without reading it, so that also a damaged file can be emptied.
func (f *File) dropEverything() {
	for block := range f.dirty {
		f.dropBuffer(block)
	}
	f.nodes.init()
	f.chunks.dropAll()
	f.roots, f.height = nil, 0
	f.pages.dropAll()
	f.changed = true
}

// zeroInBlock zeroes the bytes from lo up to hi of a block, unless it is a hole.
func (f *File) zeroInBlock(op string, block uint64, lo, hi int) error {
	if f.dirty[block] == nil {
		c := cursor{f: f, op: op}
		if e, err := c.entry(block); err != nil || e.hole() {
			return err
		}
	}
	b, err := f.buffer(op, block, false)
	if err != nil {
		return err
	}
	clear(b.p[lo:hi])
	f.changed = true
	return nil
}

// dropBlocks makes the blocks from lo up to hi holes.
func (f *File) dropBlocks(op string, lo, hi uint64) error {
	if err := f.loadEdges(op, lo, hi); err != nil {
		return err
	}
	if err := f.loosenEdges(op, lo, hi); err != nil {
		return err
	}
	for block := range f.dirty {
		if block >= lo && block < hi {
			f.dropBuffer(block)
		}
	}
	f.changed = true
	for i := range f.roots {
		if err := f.dropBelow(op, nil, i, nodeID{f.height, uint64(i)}, lo, hi); err != nil {
			return err
		}
	}
	return nil
}

// loadEdges reads the tag pages that the range covers only in part, so that nothing has been dropped
// yet when one of them can't be read.
func (f *File) loadEdges(op string, lo, hi uint64) error {
	if f.height == 0 {
		return nil
	}
	if _, err := f.leaf(op, lo); err != nil {
		return err
	}
	_, err := f.leaf(op, hi)
	return err
}

// dropBelow drops the part of the range that lies below id, whose entry is at place i of parent
// (the root when nil). parent is dirty.
func (f *File) dropBelow(op string, parent *node, i int, id nodeID, lo, hi uint64) error {
	first, end := id.firstBlock(), id.firstBlock()+cover(id.height)
	if end <= lo || first >= hi {
		return nil
	}
	e := f.placeEntry(parent, i)
	if first >= lo && end <= hi {
		f.freeBelow(op, id, e)
		f.setPlace(parent, i, entry{})
		return nil
	}
	n, err := f.loadNode(op, id, &e)
	if err != nil || n == nil {
		return err
	}
	f.dirtyNode(n, parent, i)
	for c := range fanOut {
		if err := f.dropBelow(op, n, c, id.child(c), lo, hi); err != nil {
			return err
		}
	}
	return nil
}

// placeEntry returns entry i of parent (the root when nil).
func (f *File) placeEntry(parent *node, i int) entry {
	if parent == nil {
		return f.roots[i]
	}
	return parent.entry(i)
}

// setPlace replaces entry i of parent (the root when nil).
func (f *File) setPlace(parent *node, i int, e entry) {
	if parent == nil {
		f.roots[i] = e
		return
	}
	parent.setEntry(i, &e)
}

// freeBelow drops the pages of id, whose entry is e, and of all below it. What is below a tag page
// that can't be read stays allocated until a later walk finds it free.
func (f *File) freeBelow(op string, id nodeID, e entry) {
	if id.height == 0 {
		f.dropBlockEntry(id.index, e)
		return
	}
	if e.hole() && !f.nodes.isDirty(id) {
		return
	}
	n, err := f.peekNode(op, id, &e)
	if err != nil {
		f.pages.complete = false
		f.chunks.dropAll()
	} else {
		for i := range fanOut {
			f.freeBelow(op, id.child(i), n.entry(i))
		}
	}
	f.nodes.remove(id)
	if !e.hole() {
		f.pages.drop(e.page)
	}
}

// dropTree drops all blocks but not the buffers.
func (f *File) dropTree(op string) {
	for i := range f.roots {
		f.freeBelow(op, nodeID{f.height, uint64(i)}, f.roots[i])
	}
	f.nodes.init()
	f.roots, f.height = nil, 0
}
