package envelope

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"sync"
)

const (
	// batchBlocks is the number of blocks sealed or opened in one go (1 MiB).
	batchBlocks = 256
	// parallelBlocks is the number of blocks from which work is spread over goroutines (128 KiB).
	parallelBlocks = 32
	// pieceBlocks is the number of pages that are sealed and then written, or read and then opened,
	// before the next ones (128 KiB): few enough to stay in a core's own cache in between.
	pieceBlocks = 32
	// segmentBlocks is the least number of blocks per goroutine.
	segmentBlocks = 8
	// pageAADSize is the greatest length of the additional data of a page, in bytes.
	pageAADSize = 5 + 2 + 8
)

// pageAAD appends what a page is bound to: data block ("block", 0, block number), tag page ("tree", 0,
// height, index) or page of a stream ("chunk", pages, blocks, number of the block whose entry names
// it). The physical page is not part of it.
func pageAAD(dst []byte, id nodeID, s shape) []byte {
	switch {
	case s != (shape{}):
		dst = append(dst, "chunk"...)
		dst = append(dst, s.pages, s.blocks)
	case id.height == 0:
		dst = append(dst, "block\x00"...)
	default:
		dst = append(dst, "tree\x00"...)
		dst = append(dst, id.height)
	}
	return binary.LittleEndian.AppendUint64(dst, id.index)
}

// cipherFor returns the cipher of pages like id.
func (c *epochKeys) cipherFor(id nodeID) cipher.AEAD {
	if id.height == 0 {
		return c.block
	}
	return c.tree
}

// pageJob is one page to seal or to open. plain is the plaintext to seal, or the place that holds
// the ciphertext and receives the plaintext.
type pageJob struct {
	id    nodeID
	shape shape // of the chunk, for a page of its stream
	e     entry
	plain []byte
	at    int  // to read: number of plain among the pages of one piece of memory
	raw   bool // to write: not to be compressed
}

// scratch is what one goroutine needs to seal or open pages without allocating. It never holds
// plaintext.
type scratch struct {
	piece [pieceBlocks*PageSize + tagSize]byte
	aad   [pageAADSize]byte
	next  [tagSize]byte
}

// batch is a pooled list of jobs with room for their ciphertext and one tag.
type batch struct {
	jobs     [batchBlocks]pageJob
	slab     []byte
	packs    []pack // compressed chunks among the jobs
	packList [batchBlocks / chunkBlocks]pack
}

var (
	scratchPool = sync.Pool{New: func() any { return new(scratch) }}
	batchPool   = sync.Pool{New: func() any { return new(batch) }}
)

// getScratch takes a scratch from the pool.
func getScratch() *scratch { return scratchPool.Get().(*scratch) }

// release returns s to the pool.
func (s *scratch) release() { scratchPool.Put(s) }

// getBatch takes a batch from the pool.
func getBatch() *batch { return batchPool.Get().(*batch) }

// slabFor returns room for n pages of ciphertext and one tag.
func (b *batch) slabFor(n int) []byte {
	need := n*PageSize + tagSize
	if cap(b.slab) < need {
		b.slab = make([]byte, need)
	}
	return b.slab[:need]
}

// release drops the references to plaintext and returns b to the pool.
func (b *batch) release(n int) {
	clear(b.jobs[:n])
	batchPool.Put(b)
}

// sealPiece seals jobs one after the other into slab, which has room for one tag behind the last page,
// and sets their tags; epoch and nonce are set already. GCM puts the tag behind the ciphertext: into the
// first bytes of the next page, which is sealed only after the tag was taken away.
func sealPiece(k *epochKeys, jobs []pageJob, slab []byte, aad *[pageAADSize]byte) {
	for i := range jobs {
		j := &jobs[i]
		dst := slab[i*PageSize:][: 0 : PageSize+tagSize]
		sealed := k.cipherFor(j.id).Seal(dst, j.e.nonce[:], j.plain, pageAAD(aad[:0], j.id, j.shape))
		copy(j.e.tag[:], sealed[PageSize:])
	}
}

var errPageAuth = errors.New("page fails authentication")

// openPiece opens jobs one after the other in place, and returns how many were good. The tag is laid into
// the bytes behind the ciphertext, which are restored afterwards; the last page goes through the scratch
// buffer, as what is behind it may be another goroutine's.
func (f *fileKeys) openPiece(s *scratch, jobs []pageJob) (int, error) {
	keys, epoch := (*epochKeys)(nil), uint16(0)
	for i := range jobs {
		j := &jobs[i]
		if keys == nil || epoch != j.e.epoch {
			keys, epoch = f.epoch(j.e.epoch), j.e.epoch
		}
		inPlace := i+1 < len(jobs) && cap(j.plain) >= PageSize+tagSize
		if err := s.open(keys.cipherFor(j.id), j, inPlace); err != nil {
			return i, err
		}
	}
	return len(jobs), nil
}

// open opens one job.
func (s *scratch) open(a cipher.AEAD, j *pageJob, inPlace bool) error {
	sealed := s.piece[:PageSize+tagSize]
	if inPlace {
		sealed = j.plain[:PageSize+tagSize]
		copy(s.next[:], sealed[PageSize:])
	} else {
		copy(sealed, j.plain[:PageSize])
	}
	copy(sealed[PageSize:], j.e.tag[:])
	_, err := a.Open(j.plain[:0], j.e.nonce[:], sealed, pageAAD(s.aad[:0], j.id, j.shape))
	if inPlace {
		copy(sealed[PageSize:], s.next[:])
	}
	if err != nil {
		return errPageAuth
	}
	return nil
}

// inSegments calls do for adjoining parts of [0, n), on up to workers goroutines when n is large.
func inSegments(n, workers int, do func(lo, hi int)) {
	if n < parallelBlocks {
		workers = 1
	}
	spread(n, min(workers, n/segmentBlocks), do)
}

// spread calls do for adjoining parts of [0, n), each on a goroutine of its own if there are several.
func spread(n, workers int, do func(lo, hi int)) {
	if workers = min(workers, n); workers < 2 {
		if n > 0 {
			do(0, n)
		}
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { do(n*w/workers, n*(w+1)/workers) })
	}
	wg.Wait()
}
