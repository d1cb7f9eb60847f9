package envelope

import (
	"errors"
	"io"
	"sync"
)

// ReadAt reads into p at off. It returns fewer bytes than asked for, and no error, at the end of
// the file; holes read as zeros. On failure the n bytes before the failing block are good and the
// rest of p is zeroed. KindCorrupt is an authentication failure, KindIO one of the store.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	const op = "read"
	if err := f.checkRange(op, off, 0); err != nil {
		return 0, err
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if err := f.usable(op); err != nil {
		return 0, err
	}
	if uint64(off) >= f.size {
		return 0, nil
	}
	p = p[:min(uint64(len(p)), f.size-uint64(off))]
	for n < len(p) && err == nil {
		var m int
		m, err = f.readPart(op, p[n:], uint64(off)+uint64(n))
		n += m
	}
	clear(p[n:])
	return n, err
}

// readPart reads the first part of p: a batch of whole blocks, bytes of one block, or what lies in
// compressed chunks.
func (f *File) readPart(op string, p []byte, off uint64) (int, error) {
	if f.dirty[off/PageSize] == nil {
		c := cursor{f: f, op: op}
		if e, err := c.entry(off / PageSize); err != nil {
			return 0, err
		} else if e.flags != 0 {
			return f.readPacked(op, p, off)
		}
	}
	if blocks := len(p) / PageSize; off%PageSize == 0 && blocks > 0 {
		n := min(blocks, batchBlocks)
		return f.readBlocks(op, p[:n*PageSize:n*PageSize], off/PageSize)
	}
	block, in := off/PageSize, int(off%PageSize)
	n := min(len(p), PageSize-in)
	if err := f.readPartial(op, p[:n], block, in); err != nil {
		return 0, err
	}
	return n, nil
}

// readPartial reads bytes of one block from its offset in on.
func (f *File) readPartial(op string, p []byte, block uint64, in int) error {
	if b := f.dirty[block]; b != nil {
		copy(p, b.p[in:])
		return nil
	}
	c := cursor{f: f, op: op}
	e, err := c.entry(block)
	if err != nil {
		return err
	}
	if e.hole() {
		clear(p)
		return nil
	}
	b := newBlockBuffer()
	defer b.release()
	if err := f.fetchPage(op, nodeID{0, block}, &e, b.p[:]); err != nil {
		return err
	}
	copy(p, b.p[in:])
	return nil
}

// readBlocks reads the whole blocks that p spans, at most batchBlocks, up to the first one in a
// compressed chunk, and returns how many bytes from the start are good.
func (f *File) readBlocks(op string, p []byte, first uint64) (int, error) {
	b := getBatch()
	defer b.release(batchBlocks)
	c := cursor{f: f, op: op}
	n, good := 0, len(p)
	var failure error
	for i := 0; i < good; i += PageSize {
		block, dst := first+uint64(i/PageSize), p[i:i+PageSize:len(p)]
		if d := f.dirty[block]; d != nil {
			copy(dst, d.p[:])
			continue
		}
		e, err := c.entry(block)
		switch {
		case err != nil:
			good, failure = i, err
		case e.flags != 0:
			good = i
		case e.hole():
			clear(dst)
		default:
			b.jobs[n] = pageJob{id: nodeID{0, block}, e: e, plain: dst, at: i / PageSize}
			n++
		}
	}
	return f.fetchBlocks(op, p[:good], first, b.jobs[:n], failure)
}

// fetchBlocks reads and opens jobs, whose places lie in p. failure is what ended the list early, if
// anything did. It returns how many bytes of p are good.
func (f *File) fetchBlocks(op string, p []byte, first uint64, jobs []pageJob, failure error) (int, error) {
	read, err := f.fetchPages(op, jobs)
	if err == nil {
		return len(p), failure
	}
	return int(jobs[read].id.index-first) * PageSize, err
}

// fetchPages reads and opens the pages of jobs, which are in ascending order of their place in memory.
// It returns how many are good; later ones are undefined.
func (f *File) fetchPages(op string, jobs []pageJob) (good int, err error) {
	var mu sync.Mutex
	good = len(jobs)
	inSegments(len(jobs), f.workers, func(lo, hi int) {
		if n, e := f.readAndOpen(op, jobs[lo:hi]); e != nil {
			mu.Lock()
			defer mu.Unlock()
			if lo+n < good {
				good, err = lo+n, e
			}
		}
	})
	return good, err
}

// readAndOpen reads and opens jobs, piece by piece, and returns how many are good.
func (f *File) readAndOpen(op string, jobs []pageJob) (good int, err error) {
	s := getScratch()
	defer s.release()
	for good < len(jobs) && err == nil {
		piece := jobs[good:min(good+pieceBlocks, len(jobs))]
		var read int
		read, err = f.readRuns(op, piece)
		opened, bad := f.keys.openPiece(s, piece[:read])
		if bad != nil {
			err = f.corrupt(op, int64(piece[opened].id.index), bad)
		}
		good += opened
	}
	return good, err
}

// readRuns reads the pages of jobs to their places, one store read per run that is contiguous in
// the store and in memory. It returns how many jobs were read.
func (f *File) readRuns(op string, jobs []pageJob) (int, error) {
	for i := 0; i < len(jobs); {
		n := 1
		for i+n < len(jobs) && jobs[i+n].e.page == jobs[i].e.page+uint64(n) && jobs[i+n].at == jobs[i].at+n {
			n++
		}
		got, err := f.store.ReadAt(jobs[i].plain[:n*PageSize], int64(jobs[i].e.page)*PageSize)
		if got < n*PageSize {
			i += got / PageSize
			if err == nil || errors.Is(err, io.EOF) {
				return i, f.corrupt(op, int64(jobs[i].id.index), errPageMissing)
			}
			return i, f.ioError(op, int64(jobs[i].id.index), err)
		}
		i += n
	}
	return len(jobs), nil
}
