package envelope

import (
	"maps"
	"slices"
	"sync"
)

// blockBuffer holds the plaintext of one block that is not in the tree yet.
type blockBuffer struct {
	p     [PageSize]byte
	loose bool // of a chunk that was taken apart and is to be stored raw
}

var blockPool = sync.Pool{New: func() any { return new(blockBuffer) }}

// release wipes the buffer and returns it to the pool.
func (b *blockBuffer) release() {
	*b = blockBuffer{}
	blockPool.Put(b)
}

// newBlockBuffer returns a buffer of zeros.
func newBlockBuffer() *blockBuffer { return blockPool.Get().(*blockBuffer) }

// dropBuffer forgets the buffered plaintext of block.
func (f *File) dropBuffer(block uint64) {
	if b := f.dirty[block]; b != nil {
		b.release()
		delete(f.dirty, block)
	}
}

// buffer returns the buffer of block, filled with its present content (zeros when fresh says that
// none of it will be seen).
func (f *File) buffer(op string, block uint64, fresh bool) (*blockBuffer, error) {
	if b := f.dirty[block]; b != nil {
		return b, nil
	}
	if err := f.loosen(op, block/chunkBlocks); err != nil {
		return nil, err
	}
	if b := f.dirty[block]; b != nil {
		return b, nil
	}
	b := newBlockBuffer()
	if !fresh {
		c := cursor{f: f, op: op}
		e, err := c.entry(block)
		if err == nil && !e.hole() {
			err = f.fetchPage(op, nodeID{0, block}, &e, b.p[:])
		}
		if err != nil {
			b.release()
			return nil, err
		}
	}
	f.dirty[block] = b
	return b, nil
}

// dirtyBlocks returns the numbers of the buffered blocks in ascending order.
func (f *File) dirtyBlocks() []uint64 { return slices.Sorted(maps.Keys(f.dirty)) }

// flushBuffers seals the buffered blocks to new pages. What was written leaves the buffer; the
// rest stays for a retry.
func (f *File) flushBuffers(op string) error {
	list := f.dirtyBlocks()
	b := getBatch()
	defer b.release(batchBlocks)
	for len(list) > 0 {
		n := wholeChunks(list, batchBlocks)
		for i, block := range list[:n] {
			d := f.dirty[block]
			b.jobs[i] = pageJob{id: nodeID{0, block}, plain: d.p[:], raw: d.loose}
		}
		if err := f.writeBlocks(op, b, n); err != nil {
			return err
		}
		for _, block := range list[:n] {
			f.dropBuffer(block)
		}
		list = list[n:]
	}
	f.inline = false
	return nil
}

// wholeChunks returns how many of the first blocks of list, at most limit, to take without parting
// those of one chunk.
func wholeChunks(list []uint64, limit int) int {
	if len(list) <= limit {
		return len(list)
	}
	n := limit
	for list[n]/chunkBlocks == list[n-1]/chunkBlocks {
		n--
	}
	return n
}
