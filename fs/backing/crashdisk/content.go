package crashdisk

import "maps"

const (
	pageSize   = 4096
	sectorSize = 512
)

type page [pageSize]byte

// state is the content of a file. Pages beyond the size are not there; missing ones are zeros. Pages are
// never changed once they are in a map.
type state struct {
	size  int64
	pages map[int64]*page
}

func (s state) clone() state { return state{s.size, maps.Clone(s.pages)} }

// truncate sets the size. What is cut off reads as zeros when the file grows again.
func (s *state) truncate(size int64) {
	s.size = size
	for n, p := range s.pages {
		switch at := n * pageSize; {
		case at >= size:
			delete(s.pages, n)
		case at+pageSize > size:
			cut := *p
			clear(cut[size-at:])
			s.pages[n] = &cut
		}
	}
}

// event is a change of a file's content since its last flush: a page written, or a truncation. seq is its
// place in the journal: truncations are there, and growth is, because the place of a page and the size are
// metadata. 0 for a page written in place.
type event struct {
	page *page
	n    int64
	size int64 // afterwards
	seq  uint64
}

// content is what a file holds: now, at its last flush, and what was done since.
type content struct {
	now, flushed state
	since        []event
	needed       uint64 // the last change of the journal without which the content cannot be read
}

func newContent() *content {
	return &content{now: state{pages: map[int64]*page{}}, flushed: state{pages: map[int64]*page{}}}
}

func (c *content) read(p []byte, off int64) int {
	if off >= c.now.size {
		return 0
	}
	n := int(min(int64(len(p)), c.now.size-off))
	for done := 0; done < n; {
		at := off + int64(done)
		part := p[done:min(n, done+pageSize-int(at%pageSize))]
		if pg := c.now.pages[at/pageSize]; pg != nil {
			copy(part, pg[at%pageSize:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return n
}

// grows reports whether a write makes the file longer or gives it new pages.
func (c *content) grows(p []byte, off int64) bool {
	if off+int64(len(p)) > c.now.size {
		return true
	}
	for n := off / pageSize; n*pageSize < off+int64(len(p)); n++ {
		if c.now.pages[n] == nil {
			return true
		}
	}
	return false
}

// write changes pages one by one. seq is the write's place in the journal if it grows the file, else 0.
func (c *content) write(p []byte, off int64, seq uint64) {
	for done := 0; done < len(p); {
		at := off + int64(done)
		n := at / pageSize
		next := new(page)
		if old := c.now.pages[n]; old != nil {
			*next = *old
		}
		k := copy(next[at%pageSize:], p[done:])
		done += k
		c.now.pages[n] = next
		c.now.size = max(c.now.size, at+int64(k))
		c.since = append(c.since, event{page: next, n: n, size: c.now.size, seq: seq})
	}
	c.needed = max(c.needed, seq)
}

func (c *content) truncate(size int64, seq uint64) {
	c.now.truncate(size)
	c.since = append(c.since, event{size: size, seq: seq})
	c.needed = seq
}

func (c *content) flush() { c.flushed, c.since = c.now.clone(), nil }

// lose leaves what survives a power loss, when the journal is durable up to a sequence.
func (c *content) lose(rng Chance, upTo uint64) {
	s := c.flushed.clone()
	for _, e := range c.since {
		if e.page == nil {
			if e.seq <= upTo {
				s.truncate(e.size)
			}
			continue
		}
		old := s.pages[e.n]
		if survivor := survives(rng, old, e.page); survivor != nil && (old != nil || e.seq <= upTo) {
			s.pages[e.n] = survivor
		}
		if e.size > s.size && e.seq <= upTo {
			s.size = sizeBetween(rng, s.size, e.size)
		}
	}
	s.truncate(s.size)
	c.now, c.since, c.needed = s, nil, 0
	c.flushed = s.clone()
}

// survives returns what is on the device after the write of a page over old: the page, a part of it, or
// nil when nothing of it is.
func survives(rng Chance, old, written *page) *page {
	switch rng.IntN(8) {
	case 0, 1, 2, 3:
		return written
	case 4:
		torn := new(page)
		if old != nil {
			*torn = *old
		}
		sectors := rng.Uint32N(1 << (pageSize / sectorSize))
		for i := range pageSize / sectorSize {
			if sectors>>i&1 != 0 {
				copy(torn[i*sectorSize:(i+1)*sectorSize], written[i*sectorSize:])
			}
		}
		return torn
	}
	return nil
}

// sizeBetween is the size on the device after the file grew.
func sizeBetween(rng Chance, old, grown int64) int64 {
	switch rng.IntN(4) {
	case 0:
		return old
	case 1:
		return old + rng.Int64N(grown-old+1)
	}
	return grown
}
