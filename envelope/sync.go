package envelope

import (
	"errors"
	"io"
)

// Sync commits and flushes the store: what was written before it survives a power loss from now
// on. It costs exactly one Store.Sync, and none when everything written is durable already.
func (f *File) Sync() error {
	const op = "sync"
	f.commitMu.Lock()
	defer f.commitMu.Unlock()
	root, err := f.beginSync(op)
	if err != nil || root.seq == 0 {
		return err
	}
	return f.endSync(op, root, f.store.Sync())
}

// beginSync commits and returns the root that a flush makes durable; none when no flush is needed.
func (f *File) beginSync(op string) (rootRef, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable(op); err != nil {
		return rootRef{}, err
	}
	if err := f.rewriteUnflushed(op); err != nil {
		return rootRef{}, err
	}
	if err := f.commitLocked(op); err != nil || !f.unflushed {
		return rootRef{}, err
	}
	f.pages.beginFlush()
	return f.last, nil
}

// endSync notes the outcome of the flush. Only now do the root slots change roles. A failed flush
// may have lost any page written since the last good one, so these are written again next time.
func (f *File) endSync(op string, root rootRef, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return f.usable(op)
	}
	f.pages.endFlush(err == nil)
	if err != nil {
		f.rewrite, f.rewriteAll = true, f.rewriteAll || f.inherited
		return f.ioError(op, NoBlock, err)
	}
	f.flushed(root)
	f.reclaim(op)
	return nil
}

// prepareWrite runs before pages are allocated, while no allocated page is outside the tree: it
// makes the last root durable if it is unknown which root is, and looks for free pages if the file
// has many.
func (f *File) prepareWrite(op string) error {
	if f.flushFirst {
		if err := f.rewriteUnflushed(op); err != nil {
			return err
		}
		if err := f.store.Sync(); err != nil {
			f.rewrite, f.rewriteAll = true, true
			return f.ioError(op, NoBlock, err)
		}
		f.pages.walkable = true // what W dropped since stays in onDurable: the last root names it
		f.flushed(f.last)
	}
	if f.pages.wantsWalk() {
		f.findFreePages(op)
	}
	return nil
}

// findFreePages walks the tag pages of W to learn which pages are free. When a tag page can't be
// read, the free pages stay unknown: nothing is lost but space.
func (f *File) findFreePages(op string) {
	var named pageSet
	err := f.walkTree(op, func(_ nodeID, e *entry) error {
		if !e.hole() {
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

// rewriteUnflushed runs after a failed flush: the store may have dropped pages written since D
// although it accepted them, and would not report it again. So their bytes are read back and written
// once more as they are; that can't harm whatever root turns out to be durable.
func (f *File) rewriteUnflushed(op string) error {
	if !f.rewrite {
		return nil
	}
	page := newBlockBuffer()
	defer page.release()
	for p := uint64(0); p < f.pages.end; p++ {
		if p >= firstPage && !f.rewriteAll && !f.pages.recent(p) {
			continue
		}
		if n, err := f.store.ReadAt(page.p[:], int64(p)*PageSize); n < PageSize {
			if err == nil || errors.Is(err, io.EOF) {
				continue // never written
			}
			return f.ioError(op, NoBlock, err)
		}
		if _, err := f.store.WriteAt(page.p[:], int64(p)*PageSize); err != nil {
			return f.ioError(op, NoBlock, err)
		}
	}
	return nil
}

// flushed notes that L is durable.
func (f *File) flushed(l rootRef) {
	f.durable = l
	f.unflushed, f.flushFirst, f.inherited = false, false, false
	f.rewrite, f.rewriteAll = false, false
}
