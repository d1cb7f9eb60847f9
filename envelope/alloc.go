package envelope

const (
	// wantRun is the shortest run of free pages that is worth taking for a longer request.
	wantRun = 32
	// scanRuns bounds how many runs of free pages one allocation looks at.
	scanRuns = 256
	// freeSlack is the number of free pages that is tolerated whatever the file's length.
	freeSlack = 16
	// trimSlack is the number of trailing free pages that is kept for recycling.
	trimSlack = 64
)

// allocator hands out physical pages. D is the root known durable, L the last root written, W the
// working tree. No page that D or L names is ever handed out:
//
//   - a page that D may name and W dropped waits in onDurable for a flush of a root without it;
//   - a page allocated since D that L names and W dropped waits in onWrite for the next root;
//   - a page allocated since L and dropped is free at once.
type allocator struct {
	end  uint64 // next page to append
	used uint64 // pages that W names

	free      pageSet // may be written now
	fresh     pageSet // allocated since L was written
	young     pageSet // allocated since D, not in fresh
	onWrite   pageSet
	onDurable pageSet
	flushing  pageSet // onDurable, and
	wasYoung  pageSet // young, when the flush that is now under way began

	complete bool // free holds every free page, not only those freed since open
	walkable bool // W alone says which pages are free (D is W, or what it names is in the sets)
}

// freePages returns how many pages are named by nothing or wait to be free.
func (a *allocator) freePages() uint64 { return a.end - firstPage - a.used }

// tooMuchFree reports whether n free pages are too many for the file's length.
func (a *allocator) tooMuchFree(n uint64) bool { return n > max(freeSlack, a.end/8) }

// wantsWalk reports whether enough free pages are unknown that a walk of the tree pays.
func (a *allocator) wantsWalk() bool {
	if a.complete || !a.walkable {
		return false
	}
	known := a.free.len() + a.onWrite.len() + a.onDurable.len() + a.flushing.len()
	free := a.freePages()
	return free > known && a.tooMuchFree(free-known)
}

// rebuild makes the free set complete; named holds every page that W names.
func (a *allocator) rebuild(named *pageSet) {
	a.used = named.len()
	var rest pageSet
	rest.addRange(firstPage, a.end)
	for _, taken := range []*pageSet{named, &a.onWrite, &a.onDurable, &a.flushing} {
		rest.subtract(taken)
	}
	a.free = rest
	a.complete = true
}

// recent reports whether p may have been written since D.
func (a *allocator) recent(p uint64) bool { return a.fresh.has(p) || a.young.has(p) }

// alloc returns the start and length of a run of 1 to n pages.
func (a *allocator) alloc(n uint64) (start, got uint64) {
	start, got = a.findRun(n)
	if got == 0 {
		start, got = a.end, n
		a.end += n
	}
	for p := start; p < start+got; p++ {
		a.free.remove(p)
		a.fresh.add(p)
	}
	a.used += got
	return start, got
}

// findRun looks for a run of free pages: the lowest one that is long enough, else, when too much is
// free, the lowest.
func (a *allocator) findRun(n uint64) (start, got uint64) {
	first, ok := a.free.lowest()
	if !ok {
		return 0, 0
	}
	want := min(n, wantRun)
	for p, i := first, 0; ok && i < scanRuns; i++ {
		run := a.free.runFrom(p, n)
		if run >= want {
			return p, run
		}
		p, ok = a.free.next(p + run)
	}
	if a.tooMuchFree(a.free.len()) {
		return first, a.free.runFrom(first, n)
	}
	return 0, 0
}

// drop takes page p, which W named, out of W.
func (a *allocator) drop(p uint64) {
	if a.used > 0 {
		a.used--
	}
	switch {
	case a.fresh.remove(p):
		a.free.add(p)
	case a.young.has(p):
		a.young.remove(p)
		a.onWrite.add(p)
	default:
		a.onDurable.add(p)
	}
}

// dropAll takes every page out of W.
func (a *allocator) dropAll() {
	a.free.merge(&a.fresh)
	a.onWrite.merge(&a.young)
	var rest pageSet
	rest.addRange(firstPage, a.end)
	rest.subtract(&a.free)
	rest.subtract(&a.onWrite)
	rest.subtract(&a.flushing)
	a.onDurable = rest
	a.used = 0
	a.complete = true
}

// rootAttempted notes that a root naming W may have reached the store, although its write failed.
func (a *allocator) rootAttempted() { a.young.merge(&a.fresh) }

// rootWritten notes that L is now W.
func (a *allocator) rootWritten() {
	a.young.merge(&a.fresh)
	a.free.merge(&a.onWrite)
}

// beginFlush notes that a flush of L starts: until it ends, every page allocated so far may be
// named by the durable root.
func (a *allocator) beginFlush() {
	a.flushing.merge(&a.onDurable)
	a.wasYoung.merge(&a.young)
}

// endFlush notes the end of that flush; ok says that L is now D.
func (a *allocator) endFlush(ok bool) {
	if !ok {
		a.wasYoung.subtract(&a.onDurable)
		a.onDurable.merge(&a.flushing)
		a.young.merge(&a.wasYoung)
		return
	}
	a.free.merge(&a.flushing)
	a.wasYoung.clear()
	a.walkable = true
}

// trim takes the free pages at the end out of the file, if they are many, and reports whether it
// did; the caller then shortens the store to end pages.
func (a *allocator) trim() bool {
	n := a.free.trailing(a.end)
	if n <= a.used+trimSlack {
		return false
	}
	for p := a.end - n; p < a.end; p++ {
		a.free.remove(p)
	}
	a.end -= n
	return true
}
