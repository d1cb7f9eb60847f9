package envelope

import (
	"encoding/binary"
	"errors"
	"io"
)

// Sync commits and flushes the store: what was written before it survives a power loss from now
// on. It costs exactly one Store.Sync, and none when everything written is durable already; a second
// one where the first has opened the way to give much space back to the store after a shrink.
func (f *File) Sync() error {
	const op = "sync"
	f.commitMu.Lock()
	defer f.commitMu.Unlock()
	again := true
	for again {
		root, err := f.beginSync(op)
		if err != nil || root.seq == 0 {
			return err
		}
		if again, err = f.endSync(op, root, f.store.Sync()); err != nil {
			return err
		}
	}
	return nil
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
// may have lost any page written since the last good one, so these are written again next time. It
// asks for another round when it has moved pages to give space back.
func (f *File) endSync(op string, root rootRef, err error) (again bool, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false, f.usable(op)
	}
	f.pages.endFlush(err == nil)
	if err != nil {
		f.rewrite, f.rewriteAll = true, f.rewriteAll || f.inherited
		return false, f.ioError(op, NoBlock, err)
	}
	f.flushed(root)
	f.reclaim(op)
	return f.compact(op), nil
}

// prepareWrite runs before pages are allocated, while no allocated page is outside the tree: it
// makes the last root durable if it is unknown which root is, and looks for free pages if the file
// has many.
func (f *File) prepareWrite(op string) error {
	if f.flushFirst {
		if err := f.rewriteUnflushed(op); err != nil {
			return err
		}
		if err := f.voidTorn(op); err != nil {
			return err
		}
		if err := f.store.Sync(); err != nil {
			f.rewrite, f.rewriteAll = true, true
			return f.ioError(op, NoBlock, err)
		}
		f.torn = nil
		f.pages.walkable = true // what W dropped since stays in onDurable: the last root names it
		f.flushed(f.last)
		f.reclaim(op)
	}
	if f.pages.wantsWalk() {
		f.findFreePages(op)
	}
	return nil
}

// voidTorn makes sure that a torn root page can't become whole again. The next root is written over it, and
// if that is torn too, it may put just those sectors right that were wrong: much of a root page, such as its
// slot area, is the same in many. A commit that was lost in the first crash would be back then. With another
// checksum it can't; as only the first sector changes, this write can't be torn itself.
func (f *File) voidTorn(op string) error {
	if f.torn == nil {
		return nil
	}
	page := *f.torn
	le, whole := binary.LittleEndian, pageChecksum(&page)
	void := le.Uint32(page[offCRC:]) ^ 1
	if void == whole {
		void ^= 3
	}
	le.PutUint32(page[offCRC:], void)
	if _, err := f.store.WriteAt(page[:], int64(1-f.last.slot)*PageSize); err != nil {
		return f.ioError(op, NoBlock, err)
	}
	return nil
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
