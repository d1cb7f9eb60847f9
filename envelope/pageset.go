package envelope

import "math/bits"

const (
	chunkWords = 64
	chunkPages = chunkWords * 64
)

// pageSet is a set of physical pages: a bitmap in chunks of 4096 pages.
type pageSet struct {
	chunks []*[chunkWords]uint64
	n      uint64
	low    uint64 // no page below it is in the set
}

// len returns the number of pages in the set.
func (s *pageSet) len() uint64 { return s.n }

// word returns the word that holds page p, nil when its chunk is absent.
func (s *pageSet) word(p uint64) *uint64 {
	c := p / chunkPages
	if c >= uint64(len(s.chunks)) || s.chunks[c] == nil {
		return nil
	}
	return &s.chunks[c][p%chunkPages/64]
}

// has reports whether p is in the set.
func (s *pageSet) has(p uint64) bool {
	w := s.word(p)
	return w != nil && *w&(1<<(p%64)) != 0
}

// add puts p into the set.
func (s *pageSet) add(p uint64) {
	c := p / chunkPages
	s.grow(c)
	w, bit := &s.chunks[c][p%chunkPages/64], uint64(1)<<(p%64)
	if *w&bit == 0 {
		*w |= bit
		s.n++
		s.low = min(s.low, p)
	}
}

// addRange adds the pages from lo up to, not including, hi.
func (s *pageSet) addRange(lo, hi uint64) {
	for p := lo; p < hi; {
		s.add(p)
		if p%chunkPages != 0 || hi-p < chunkPages {
			p++
			continue
		}
		s.fillChunk(p / chunkPages)
		p += chunkPages
	}
}

// fillChunk adds all pages of the present chunk c.
func (s *pageSet) fillChunk(c uint64) {
	for i, w := range s.chunks[c] {
		s.n += uint64(bits.OnesCount64(^w))
		s.chunks[c][i] = ^uint64(0)
	}
}

// remove takes p out of the set and reports whether it was in.
func (s *pageSet) remove(p uint64) bool {
	w, bit := s.word(p), uint64(1)<<(p%64)
	if w == nil || *w&bit == 0 {
		return false
	}
	*w &^= bit
	s.n--
	return true
}

// clear empties the set.
func (s *pageSet) clear() { *s = pageSet{} }

// merge adds all of o, and empties o.
func (s *pageSet) merge(o *pageSet) {
	if s.n == 0 {
		*s = *o
		o.clear()
		return
	}
	for c, from := range o.chunks {
		if from == nil {
			continue
		}
		s.grow(uint64(c))
		for i, w := range from {
			s.n += uint64(bits.OnesCount64(w &^ s.chunks[c][i]))
			s.chunks[c][i] |= w
		}
	}
	s.low = min(s.low, o.low)
	o.clear()
}

// subtract removes all of o.
func (s *pageSet) subtract(o *pageSet) {
	for c, from := range o.chunks {
		if c >= len(s.chunks) || s.chunks[c] == nil || from == nil {
			continue
		}
		for i, w := range from {
			s.n -= uint64(bits.OnesCount64(w & s.chunks[c][i]))
			s.chunks[c][i] &^= w
		}
	}
}

// grow makes chunk c present.
func (s *pageSet) grow(c uint64) {
	for c >= uint64(len(s.chunks)) {
		s.chunks = append(s.chunks, nil)
	}
	if s.chunks[c] == nil {
		s.chunks[c] = new([chunkWords]uint64)
	}
}

// next returns the lowest page in the set at or above p.
func (s *pageSet) next(p uint64) (uint64, bool) {
	p = max(p, s.low)
	for p < uint64(len(s.chunks))*chunkPages {
		w := s.word(p)
		if w == nil {
			p = (p/chunkPages + 1) * chunkPages
			continue
		}
		if rest := *w >> (p % 64); rest != 0 {
			return p + uint64(bits.TrailingZeros64(rest)), true
		}
		p = (p/64 + 1) * 64
	}
	return 0, false
}

// lowest returns the lowest page in the set.
func (s *pageSet) lowest() (uint64, bool) {
	p, ok := s.next(0)
	if ok {
		s.low = p
	}
	return p, ok
}

// runFrom returns how many consecutive pages from p on are in the set, at most limit.
func (s *pageSet) runFrom(p uint64, limit uint64) uint64 {
	var n uint64
	for n < limit && s.has(p+n) {
		n++
	}
	return n
}

// trailing returns how many consecutive pages below end are in the set.
func (s *pageSet) trailing(end uint64) uint64 {
	var n uint64
	for n < end && s.has(end-1-n) {
		n++
	}
	return n
}
