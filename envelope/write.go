package envelope

import (
	"errors"
	"fmt"
	"sync"
)

// directBlocks is the number of whole blocks in a write from which they are sealed straight from
// the caller's buffer (64 KiB).
const directBlocks = 16

// checkRange refuses offsets and lengths beyond MaxFileSize.
func (f *File) checkRange(op string, off, n int64) error {
	if off < 0 || n < 0 {
		return newError(op, KindInvalid, f.id, fmt.Errorf("offset %d, length %d", off, n))
	}
	if off > MaxFileSize || n > MaxFileSize-off {
		return newError(op, KindTooLarge, f.id, fmt.Errorf("offset %d + %d exceeds %d bytes", off, n, int64(MaxFileSize)))
	}
	return nil
}

// WriteAt writes p at off, growing the file as needed; bytes between the old end and off become
// zeros. The data is safe from the end of this process after Commit and from a power loss after
// Sync. On failure, the n bytes before the failing block are written.
func (f *File) WriteAt(p []byte, off int64) (n int, err error) {
	const op = "write"
	if err := f.checkRange(op, off, int64(len(p))); err != nil || len(p) == 0 {
		return 0, err
	}
	if err := f.relieve(op); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writeAt(op, p, uint64(off))
}

// writeAt is WriteAt under the lock.
func (f *File) writeAt(op string, p []byte, off uint64) (n int, err error) {
	if err := f.usable(op); err != nil {
		return 0, err
	}
	oldSize := f.size
	for n < len(p) && err == nil {
		var m int
		m, err = f.writePart(op, p[n:], off+uint64(n))
		n += m
		if m > 0 {
			f.size = max(f.size, off+uint64(n))
			f.changed = true
		}
	}
	if f.compresses() && oldSize%chunkSize != 0 && off <= oldSize && oldSize/chunkSize < f.size/chunkSize {
		f.completeChunk(op, oldSize)
	}
	return n, err
}

// writePart writes the first part of p: either a batch of whole blocks or bytes of one block.
func (f *File) writePart(op string, p []byte, off uint64) (int, error) {
	if n := f.directBlocks(len(p)/PageSize, off); n > 0 {
		return f.writeDirect(op, p, off/PageSize, n)
	}
	block, in := off/PageSize, int(off%PageSize)
	n := min(len(p), PageSize-in)
	fresh := in == 0 && (n == PageSize || off+uint64(n) >= f.size)
	b, err := f.buffer(op, block, fresh)
	if err != nil {
		return 0, err
	}
	return copy(b.p[in:], p[:n]), nil
}

// directBlocks returns how many of the next n whole blocks at off to seal straight from the caller's
// buffer. Of a file that is compressed these are whole chunks; the rest is buffered until its chunk is
// complete or committed.
func (f *File) directBlocks(n int, off uint64) int {
	switch {
	case off%PageSize != 0 || n < directBlocks:
		return 0
	case !f.compresses():
		return min(n, batchBlocks)
	case off%chunkSize != 0:
		return 0
	}
	return min(n, batchBlocks) / chunkBlocks * chunkBlocks
}

// compresses reports whether what is written is to be compressed.
func (f *File) compresses() bool { return f.flags&FlagCompress != 0 }

// writeDirect seals n whole blocks from p.
func (f *File) writeDirect(op string, p []byte, block uint64, n int) (int, error) {
	if err := f.loosenEdges(op, block, block+uint64(n)); err != nil {
		return 0, err
	}
	b := getBatch()
	defer b.release(batchBlocks)
	for i := range n {
		b.jobs[i] = pageJob{id: nodeID{0, block + uint64(i)}, plain: p[i*PageSize : (i+1)*PageSize]}
	}
	if err := f.writeBlocks(op, b, n); err != nil {
		return 0, err
	}
	for i := range n {
		f.dropBuffer(block + uint64(i))
	}
	return n * PageSize, nil
}

// writeBlocks seals the first n jobs of b, which are ascending data blocks, to new pages and
// points the tree to them. Of a chunk that is compressed in the tree they have all blocks. On failure
// the tree is unchanged.
func (f *File) writeBlocks(op string, b *batch, n int) error {
	if err := f.prepareWrite(op); err != nil {
		return err
	}
	jobs := b.jobs[:n]
	f.ensureHeight(jobs[n-1].id.index)
	for i := range jobs {
		if i == 0 || jobs[i].id.index/fanOut != jobs[i-1].id.index/fanOut {
			if _, err := f.dirtyLeaf(op, jobs[i].id.index); err != nil {
				return err
			}
		}
	}
	if f.compresses() {
		jobs = f.packChunks(b, n)
		defer b.releasePacks()
	}
	if err := f.writePages(op, jobs); err != nil {
		return err
	}
	f.linkBlocks(jobs)
	f.linkRest(b, jobs)
	return nil
}

// linkBlocks points the tree to the pages of jobs; dirtyLeaf was called for each of them.
func (f *File) linkBlocks(jobs []pageJob) {
	var leaf *node
	for i := range jobs {
		block := jobs[i].id.index
		if f.height > 0 && (leaf == nil || leaf.id.index != block/fanOut) {
			leaf = f.nodes.get(nodeID{1, block / fanOut})
		}
		for f.height == 0 && block >= uint64(len(f.roots)) {
			f.roots = append(f.roots, entry{})
		}
		f.setBlockEntry(leaf, block, &jobs[i].e)
	}
}

// writePages allocates pages for jobs, seals and writes them, one store write per run of pages and
// piece. On failure the pages are given back.
func (f *File) writePages(op string, jobs []pageJob) error {
	if err := f.prepareSeal(op, jobs); err != nil {
		return err
	}
	for done := 0; done < len(jobs); {
		start, got := f.pages.alloc(uint64(len(jobs) - done))
		for i := range got {
			jobs[done].e.page = start + i
			done++
		}
	}
	keys := f.keys.epoch(f.epoch)
	var failure onceError
	inSegments(len(jobs), f.workers, func(lo, hi int) { failure.set(f.sealAndWrite(keys, jobs[lo:hi])) })
	if failure.err == nil {
		return nil
	}
	for i := range jobs {
		f.pages.drop(jobs[i].e.page)
	}
	return f.ioError(op, int64(jobs[0].id.firstBlock()), failure.err)
}

// sealAndWrite seals and writes jobs, piece by piece. Several goroutines may be at it, each with jobs of
// its own.
func (f *File) sealAndWrite(keys *epochKeys, jobs []pageJob) error {
	s := getScratch()
	defer s.release()
	for len(jobs) > 0 {
		n := 1
		for n < min(len(jobs), pieceBlocks) && jobs[n].e.page == jobs[0].e.page+uint64(n) {
			n++
		}
		sealPiece(keys, jobs[:n], s.piece[:], &s.aad)
		if _, err := f.store.WriteAt(s.piece[:n*PageSize], int64(jobs[0].e.page)*PageSize); err != nil {
			return err
		}
		jobs = jobs[n:]
	}
	return nil
}

// onceError keeps the first error of several goroutines.
type onceError struct {
	mu  sync.Mutex
	err error
}

func (o *onceError) set(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
}

var errEpochs = errors.New("all subkey epochs are used up; the file needs a new data key")

// prepareSeal counts the messages, begins a new epoch when due, and draws the nonces.
func (f *File) prepareSeal(op string, jobs []pageJob) error {
	if f.messages+uint64(len(jobs)) > f.limits.epochMessages {
		if f.epoch == 1<<16-1 {
			return newError(op, KindTooLarge, f.id, errEpochs)
		}
		f.epoch++
		f.messages = 0
	}
	f.messages += uint64(len(jobs))
	for i := range jobs {
		jobs[i].e.epoch = f.epoch
		if err := f.nonces.next(&jobs[i].e.nonce); err != nil {
			return f.ioError(op, NoBlock, err)
		}
	}
	return nil
}

// relieve runs before a change, outside the lock, and keeps what is unwritten bounded: too many
// buffered blocks are sealed and written, too many tag pages are committed.
func (f *File) relieve(op string) error {
	if f.nodes.dirtyCount() > f.limits.dirtyNodes {
		return f.Commit()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.dirty) <= f.limits.dirtyBlocks {
		return nil
	}
	return f.flushBuffers(op)
}
