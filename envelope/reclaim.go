package envelope

import "errors"

const (
	// compactFree is the number of free pages, beyond those in use, from which pages are moved to
	// give space back (512 KiB).
	compactFree = 128
	// compactMoves is the largest number of pages moved for that.
	compactMoves = 256
)

// findFreePages walks the tag pages of W to learn which pages are free. When a tag page can't be
// read, the free pages stay unknown: nothing is lost but space.
func (f *File) findFreePages(op string) {
	var named pageSet
	err := f.walkTree(op, func(_ nodeID, e *entry) error {
		if e.page != 0 {
			named.add(e.page)
		}
		return nil
	})
	if err != nil {
		f.pages.complete = true
		return
	}
	f.pages.rebuild(&named)
}

// walkTree calls visit for every node and block of W that has an entry or is dirty, parents first.
func (f *File) walkTree(op string, visit func(id nodeID, e *entry) error) error {
	for i := range f.roots {
		if err := f.walkBelow(op, nodeID{f.height, uint64(i)}, f.roots[i], visit); err != nil {
			return err
		}
	}
	return nil
}

// walkBelow visits id and what is below it. Nodes that it reads are not cached.
func (f *File) walkBelow(op string, id nodeID, e entry, visit func(id nodeID, e *entry) error) error {
	if e.hole() && (id.height == 0 || !f.nodes.isDirty(id)) {
		return nil
	}
	if err := visit(id, &e); err != nil || id.height == 0 {
		return err
	}
	n, err := f.peekNode(op, id, &e)
	if err != nil {
		return err
	}
	for i := range fanOut {
		if err := f.walkBelow(op, id.child(i), n.entry(i), visit); err != nil {
			return err
		}
	}
	return nil
}

// peekNode returns a node that exists, without adding it to the cache.
func (f *File) peekNode(op string, id nodeID, e *entry) (*node, error) {
	if n := f.nodes.get(id); n != nil {
		return n, nil
	}
	return f.fetchNode(op, id, e)
}

// reclaim shortens the store after a flush when many free pages are at its end. The shortening
// itself needs no flush: nothing durable names those pages.
func (f *File) reclaim(op string) {
	if f.pages.wantsWalk() {
		f.findFreePages(op)
	}
	old := f.pages.end
	if !f.pages.trim() {
		return
	}
	if err := f.store.Truncate(int64(f.pages.end) * PageSize); err != nil {
		f.pages.free.addRange(f.pages.end, old)
		f.pages.end = old
	}
}

// compact runs after a shrink has become durable. When most of the file is free but a few pages at
// its end are in use, it makes these dirty, so that the next commit moves them to the front, and
// reports that this is worth another round.
func (f *File) compact(op string) bool {
	if !f.shrunk {
		return false
	}
	f.shrunk = false
	if !f.pages.complete || f.pages.free.len() < f.pages.used+compactFree {
		return false
	}
	moves, ok := f.highPages(op, firstPage+f.pages.used+trimSlack)
	if !ok {
		return false
	}
	for i, id := range moves {
		if f.moveLater(op, id) != nil {
			return i > 0
		}
	}
	return len(moves) > 0
}

// highPages returns what W keeps in pages from limit on, unless it is too much to move.
func (f *File) highPages(op string, limit uint64) (moves []nodeID, ok bool) {
	err := f.walkTree(op, func(id nodeID, e *entry) error {
		if e.page >= limit {
			moves = append(moves, id)
		}
		if len(moves) > compactMoves {
			return errTooManyMoves
		}
		return nil
	})
	return moves, err == nil
}

var errTooManyMoves = errors.New("too many pages to move")

// moveLater makes a block or tag page dirty, so that the next commit writes it to another page.
func (f *File) moveLater(op string, id nodeID) error {
	if id.height > 0 {
		_, err := f.dirtyPath(op, id.firstBlock(), id.height)
		return err
	}
	b, err := f.buffer(op, id.index, false)
	if err != nil {
		return err
	}
	for block := id.index / chunkBlocks * chunkBlocks; b.loose && f.dirty[block] != nil && f.dirty[block].loose; block++ {
		f.dirty[block].loose = false // the whole chunk moves as it is
	}
	f.changed = true
	return nil
}
