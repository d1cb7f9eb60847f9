package ledger

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// ID is the id of a file or directory.
type ID = [16]byte

// Tag is a keyed digest of one directory entry.
type Tag = [16]byte

// Sum is the digest of a set of entries: the sum of their tags modulo 2^128, and their number. Whoever
// does not have the key of the tags cannot find two sets with one sum.
type Sum struct {
	Hi, Lo uint64
	N      uint32
}

// Add puts an entry into the set.
func (s *Sum) Add(t Tag) {
	s.merge(Sum{Hi: binary.BigEndian.Uint64(t[:8]), Lo: binary.BigEndian.Uint64(t[8:]), N: 1})
}

// Remove takes an entry out of the set.
func (s *Sum) Remove(t Tag) {
	var borrow uint64
	s.Lo, borrow = bits.Sub64(s.Lo, binary.BigEndian.Uint64(t[8:]), 0)
	s.Hi, _ = bits.Sub64(s.Hi, binary.BigEndian.Uint64(t[:8]), borrow)
	s.N--
}

// merge adds another set, or the difference between two.
func (s *Sum) merge(o Sum) {
	var carry uint64
	s.Lo, carry = bits.Add64(s.Lo, o.Lo, 0)
	s.Hi, _ = bits.Add64(s.Hi, o.Hi, carry)
	s.N += o.N
}

// String tells the number of entries and the digest.
func (s Sum) String() string { return fmt.Sprintf("%d entries, digest %016x%016x", s.N, s.Hi, s.Lo) }
