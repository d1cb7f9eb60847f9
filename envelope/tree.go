package envelope

import (
	"errors"
	"io"
)

var errPageMissing = errors.New("page is beyond the end of the store")

// readPage reads one physical page into p, as it is on the store.
func (f *File) readPage(op string, id nodeID, page uint64, p []byte) error {
	n, err := f.store.ReadAt(p[:PageSize], int64(page)*PageSize)
	switch {
	case n == PageSize:
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return f.corrupt(op, int64(id.firstBlock()), errPageMissing)
	default:
		return f.ioError(op, int64(id.firstBlock()), err)
	}
}

// fetchPage reads and opens the tag page or data block that e names into p, which is PageSize long.
func (f *File) fetchPage(op string, id nodeID, e *entry, p []byte) error {
	return f.fetchShaped(op, id, shape{}, e, p)
}

// fetchShaped is fetchPage also for pages of streams; s is the shape of their chunk.
func (f *File) fetchShaped(op string, id nodeID, s shape, e *entry, p []byte) error {
	if err := f.readPage(op, id, e.page, p); err != nil {
		return err
	}
	job := [1]pageJob{{id: id, shape: s, e: *e, plain: p[:PageSize:PageSize]}}
	sc := getScratch()
	defer sc.release()
	if _, err := f.keys.openPiece(sc, job[:]); err != nil {
		clear(p)
		return f.corrupt(op, int64(id.firstBlock()), err)
	}
	return nil
}

// fetchNode reads the tag page that e names, past the cache.
func (f *File) fetchNode(op string, id nodeID, e *entry) (*node, error) {
	n := &node{id: id}
	if err := f.fetchPage(op, id, e, n.page[:]); err != nil {
		return nil, err
	}
	if err := n.check(); err != nil {
		return nil, f.corrupt(op, int64(id.firstBlock()), err)
	}
	return n, nil
}

// loadNode returns the node id of the working tree, whose entry is e; nil when it is a hole.
func (f *File) loadNode(op string, id nodeID, e *entry) (*node, error) {
	if n := f.nodes.get(id); n != nil {
		return n, nil
	}
	if e.hole() {
		return nil, nil
	}
	n, err := f.fetchNode(op, id, e)
	if err != nil {
		return nil, err
	}
	f.nodes.putClean(n)
	return n, nil
}

// rootEntry returns root entry i, a hole beyond the last.
func (f *File) rootEntry(i uint64) entry {
	if i < uint64(len(f.roots)) {
		return f.roots[i]
	}
	return entry{}
}

// leaf returns the node of height 1 that holds the entry of block; nil for a hole. The tree's
// height is at least 1.
func (f *File) leaf(op string, block uint64) (*node, error) {
	id := nodeID{f.height, block / cover(f.height)}
	e := f.rootEntry(id.index)
	for {
		n, err := f.loadNode(op, id, &e)
		if n == nil || err != nil || id.height == 1 {
			return n, err
		}
		i := int(block / cover(id.height-1) % fanOut)
		id, e = id.child(i), n.entry(i)
	}
}

// cursor looks up the entries of ascending blocks and remembers the last leaf.
type cursor struct {
	f     *File
	op    string
	node  *node
	index uint64 // of node, when valid
	valid bool
}

// entry returns the entry of block.
func (c *cursor) entry(block uint64) (entry, error) {
	if c.f.height == 0 {
		return c.f.rootEntry(block), nil
	}
	if !c.valid || c.index != block/fanOut {
		n, err := c.f.leaf(c.op, block)
		if err != nil {
			c.valid = false
			return entry{}, err
		}
		c.node, c.index, c.valid = n, block/fanOut, true
	}
	if c.node == nil {
		return entry{}, nil
	}
	return c.node.entry(int(block % fanOut)), nil
}

// rootLimit returns how many root entries fit beside the slot area.
func (f *File) rootLimit() uint64 { return uint64(rootEntryLimit(len(f.slotArea))) }

// raise adds one level to the tree.
func (f *File) raise() {
	n := newNode(nodeID{f.height + 1, 0})
	for i := range f.roots {
		n.setEntry(i, &f.roots[i])
	}
	f.nodes.putDirty(n)
	f.roots = []entry{{}}
	f.height++
	f.changed = true
}

// ensureHeight makes the tree high enough for block.
func (f *File) ensureHeight(block uint64) {
	for block >= f.rootLimit()*cover(f.height) {
		f.raise()
	}
}

// lower takes levels off the tree that a file of its size does not need.
func (f *File) lower(op string) error {
	for f.height > 0 && f.blocks() <= f.rootLimit()*cover(f.height-1) {
		id := nodeID{f.height, 0}
		e := f.rootEntry(0)
		n, err := f.loadNode(op, id, &e)
		if err != nil {
			return err
		}
		f.roots = nil
		if n != nil {
			f.adoptEntries(n)
		}
		if !e.hole() {
			f.pages.drop(e.page)
		}
		f.nodes.remove(id)
		f.height--
		f.changed = true
	}
	return nil
}

// adoptEntries makes the entries of n the root's.
func (f *File) adoptEntries(n *node) {
	f.roots = make([]entry, min(f.rootLimit(), fanOut))
	for i := range f.roots {
		f.roots[i] = n.entry(i)
	}
}

// blocks returns the number of blocks that the size spans.
func (f *File) blocks() uint64 { return (f.size + PageSize - 1) / PageSize }

// dirtyNode makes n, whose entry stands at place i of parent (the root when nil), dirty: its page
// is dropped and its entry emptied until the node is written again.
func (f *File) dirtyNode(n, parent *node, i int) {
	if f.nodes.isDirty(n.id) {
		return
	}
	var e entry
	if parent == nil {
		e, f.roots[i] = f.roots[i], entry{}
	} else {
		e = parent.entry(i)
		parent.setEntry(i, &entry{})
	}
	if !e.hole() {
		f.pages.drop(e.page)
	}
	f.nodes.putDirty(n)
	f.changed = true
}

// dirtyLeaf makes every node on the way to block dirty, creating what is missing, and returns the
// node of height 1, or nil when the root itself holds the block's entry.
func (f *File) dirtyLeaf(op string, block uint64) (*node, error) {
	return f.dirtyPath(op, block, 1)
}

// dirtyPath is dirtyLeaf down to a node of the given height.
func (f *File) dirtyPath(op string, block uint64, height uint8) (*node, error) {
	f.ensureHeight(block)
	i := int(block / cover(f.height))
	for i >= len(f.roots) {
		f.roots = append(f.roots, entry{})
	}
	var parent *node
	id, e := nodeID{f.height, uint64(i)}, f.roots[i]
	for id.height >= height {
		n, err := f.loadNode(op, id, &e)
		if err != nil {
			return nil, err
		}
		if n == nil {
			n = newNode(id)
		}
		f.dirtyNode(n, parent, i)
		i = int(block / cover(id.height-1) % fanOut)
		parent, id, e = n, id.child(i), n.entry(i)
	}
	return parent, nil
}

// blockEntry returns the entry of block below leaf (nil: the root).
func (f *File) blockEntry(leaf *node, block uint64) entry {
	if leaf == nil {
		return f.rootEntry(block)
	}
	return leaf.entry(int(block % fanOut))
}

// dropBlockEntry drops what the entry of a block names.
func (f *File) dropBlockEntry(block uint64, e entry) {
	if e.page != 0 {
		f.pages.drop(e.page)
	}
	if e.flags != 0 {
		f.chunks.drop(block / chunkBlocks)
	}
}

// setBlockEntry replaces the entry of block below the dirty leaf (nil: the root) and drops the page
// that it named.
func (f *File) setBlockEntry(leaf *node, block uint64, e *entry) {
	f.dropBlockEntry(block, f.blockEntry(leaf, block))
	if leaf == nil {
		f.roots[block] = *e
	} else {
		leaf.setEntry(int(block%fanOut), e)
	}
	f.changed = true
}
