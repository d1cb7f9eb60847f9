package envelope

import "errors"

// Punch makes the n bytes from off on read as zeros: whole blocks become holes. Bytes beyond the
// size are ignored; the size stays.
func (f *File) Punch(off, n int64) error {
	const op = "punch"
	if err := f.checkRange(op, off, n); err != nil {
		return err
	}
	if err := f.relieve(op); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable(op); err != nil {
		return err
	}
	lo, hi := uint64(off), min(uint64(off+n), f.size)
	if lo >= hi {
		return nil
	}
	if hi == f.size {
		hi = f.blocks() * PageSize // beyond the size there are zeros already
	}
	return f.punch(op, lo, hi)
}

// punch zeroes the bytes from lo up to hi, lo < hi.
func (f *File) punch(op string, lo, hi uint64) error {
	first, last := lo/PageSize, hi/PageSize
	if first == last {
		return f.zeroInBlock(op, first, int(lo%PageSize), int(hi%PageSize))
	}
	if in := lo % PageSize; in != 0 {
		if err := f.zeroInBlock(op, first, int(in), PageSize); err != nil {
			return err
		}
		first++
	}
	if in := hi % PageSize; in != 0 {
		if err := f.zeroInBlock(op, last, 0, int(in)); err != nil {
			return err
		}
	}
	if first == last {
		return nil
	}
	f.shrunk = true
	return f.dropBlocks(op, first, last)
}

var errNoMore = errors.New("nothing but a hole up to the end")

// SeekData returns the first offset at or after off that is not in a hole. KindNoData when there is
// none before the end of the file.
func (f *File) SeekData(off int64) (int64, error) {
	const op = "seek data"
	f.mu.RLock()
	defer f.mu.RUnlock()
	if err := f.checkSeek(op, off); err != nil {
		return 0, err
	}
	block, found, err := f.nextData(op, uint64(off)/PageSize)
	if err != nil {
		return 0, err
	}
	if !found || block*PageSize >= f.size {
		return 0, newError(op, KindNoData, f.id, errNoMore)
	}
	return max(off, int64(block*PageSize)), nil
}

// SeekHole returns the first offset at or after off that is in a hole; the end of the file counts as
// one. KindNoData when off is not before the end of the file.
func (f *File) SeekHole(off int64) (int64, error) {
	const op = "seek hole"
	f.mu.RLock()
	defer f.mu.RUnlock()
	if err := f.checkSeek(op, off); err != nil {
		return 0, err
	}
	c := cursor{f: f, op: op}
	for block := uint64(off) / PageSize; block < f.blocks(); block++ {
		if f.dirty[block] != nil {
			continue
		}
		e, err := c.entry(block)
		if err != nil {
			return 0, err
		}
		if e.hole() {
			return max(off, int64(block*PageSize)), nil
		}
	}
	return int64(f.size), nil
}

// checkSeek refuses offsets outside the file.
func (f *File) checkSeek(op string, off int64) error {
	if err := f.usable(op); err != nil {
		return err
	}
	if off < 0 || uint64(off) >= f.size {
		return newError(op, KindNoData, f.id, errors.New("offset is not before the end of the file"))
	}
	return nil
}

// nextData returns the first block at or after from that has data.
func (f *File) nextData(op string, from uint64) (block uint64, found bool, err error) {
	for i := from / cover(f.height); i < uint64(len(f.roots)) && !found && err == nil; i++ {
		block, found, err = f.nextBelow(op, nodeID{f.height, i}, f.roots[i], from)
	}
	for b := range f.dirty {
		if b >= from && (!found || b < block) {
			block, found = b, true
		}
	}
	return block, found, err
}

// nextBelow is nextData for the tree below id, whose entry is e.
func (f *File) nextBelow(op string, id nodeID, e entry, from uint64) (uint64, bool, error) {
	if id.height == 0 {
		return id.index, !e.hole() && id.index >= from, nil
	}
	if id.firstBlock()+cover(id.height) <= from {
		return 0, false, nil
	}
	n, err := f.loadNode(op, id, &e)
	if n == nil || err != nil {
		return 0, false, err
	}
	for i := range fanOut {
		if n.isHole(i) && id.height == 1 {
			continue
		}
		block, found, err := f.nextBelow(op, id.child(i), n.entry(i), from)
		if found || err != nil {
			return block, found, err
		}
	}
	return 0, false, nil
}
