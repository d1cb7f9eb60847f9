package envelope

import "errors"

// Verify reads and authenticates every tag page and data block. It calls report for each block that
// fails (for a tag page, with the first block below it) and returns the first failure. It does not
// stop at failures, and holds no lock between parts of the file.
func (f *File) Verify(report func(block int64, err error)) error {
	const op = "verify"
	var first error
	last := NoBlock
	fail := func(err error) {
		if first == nil {
			first = err
		}
		var e *Error
		if errors.As(err, &e) && e.Block == last {
			return // the same tag page again
		} else if e != nil {
			last = e.Block
		}
		if report != nil {
			report(last, err)
		}
	}
	for block, more := uint64(0), true; more; {
		block, more = f.verifyPart(op, block, fail)
	}
	return first
}

// verifyPart checks the blocks below the leaf that holds block's entry, and returns the block to go
// on with.
func (f *File) verifyPart(op string, block uint64, fail func(error)) (next uint64, more bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if err := f.usable(op); err != nil {
		fail(err)
		return 0, false
	}
	next = (block/fanOut + 1) * fanOut
	found, ok, err := f.nextData(op, block)
	if err != nil {
		fail(err)
		return next, next < f.blocks()
	}
	if !ok || found >= f.blocks() {
		return 0, false
	}
	next = (found/fanOut + 1) * fanOut
	f.verifyBlocks(op, found, min(next, f.blocks()), fail)
	return next, next < f.blocks()
}

// verifyBlocks checks the blocks from lo up to hi, one by one.
func (f *File) verifyBlocks(op string, lo, hi uint64, fail func(error)) {
	b, content := newBlockBuffer(), newChunkBuffer()
	defer b.release()
	defer content.release()
	c := cursor{f: f, op: op}
	for block := lo; block < hi; block++ {
		e, err := c.entry(block)
		switch {
		case err != nil || e.hole() || f.dirty[block] != nil:
		case e.flags == 0:
			err = f.fetchPage(op, nodeID{0, block}, &e, b.p[:])
		case block == lo || block%chunkBlocks == 0:
			err = f.verifyChunk(op, block/chunkBlocks, content)
		}
		if err != nil {
			fail(err)
		}
	}
}

// verifyChunk reads and decompresses a compressed chunk.
func (f *File) verifyChunk(op string, chunk uint64, content *chunkBuffer) error {
	c := cursor{f: f, op: op}
	s, err := c.shape(chunk)
	if err != nil {
		return err
	}
	return f.readChunk(op, chunk, s, content)
}
