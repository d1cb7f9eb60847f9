package envelope

import (
	"encoding/binary"
	"errors"
)

const (
	// fanOut is the number of entries in a tag page.
	fanOut = 112
	// tagPageHeader is the length of a tag page's header, in bytes.
	tagPageHeader = PageSize - fanOut*entrySize
	// tagPageMagic is "KTAG" read as a little-endian u32.
	tagPageMagic = 0x4741544b
	// maxHeight is the greatest height of a tree: one root entry then covers more than MaxFileSize.
	maxHeight = 5
)

// nodeID names a tag page: height 1 holds entries of data blocks, height h+1 entries of tag pages
// of height h; index counts the nodes of a height from the start of the file.
type nodeID struct {
	height uint8
	index  uint64
}

// cover returns the number of data blocks below an entry that leads to height h.
func cover(h uint8) uint64 {
	n := uint64(1)
	for range h {
		n *= fanOut
	}
	return n
}

// parent returns the node that holds the entry of id, and the entry's place in it.
func (id nodeID) parent() (nodeID, int) {
	return nodeID{id.height + 1, id.index / fanOut}, int(id.index % fanOut)
}

// child returns the id of the node that entry i of id leads to (height 0: the data block).
func (id nodeID) child(i int) nodeID {
	return nodeID{id.height - 1, id.index*fanOut + uint64(i)}
}

// firstBlock returns the first data block below id.
func (id nodeID) firstBlock() uint64 { return id.index * cover(id.height) }

// node is a tag page in memory, in plaintext.
type node struct {
	id         nodeID
	page       [PageSize]byte
	prev, next *node // in the list of clean nodes
}

// newNode returns an empty tag page.
func newNode(id nodeID) *node {
	n := &node{id: id}
	binary.LittleEndian.PutUint32(n.page[0:], tagPageMagic)
	n.page[4] = id.height
	binary.LittleEndian.PutUint64(n.page[8:], id.index)
	return n
}

// slot returns the encoded entry i.
func (n *node) slot(i int) []byte {
	off := tagPageHeader + i*entrySize
	return n.page[off : off+entrySize]
}

func (n *node) entry(i int) entry        { return getEntry(n.slot(i)) }
func (n *node) setEntry(i int, e *entry) { e.put(n.slot(i)) }

// isHole reports whether entry i is a hole.
func (n *node) isHole(i int) bool {
	return binary.LittleEndian.Uint64(n.slot(i))&(1<<48-1) == 0
}

// empty reports whether all entries are holes.
func (n *node) empty() bool {
	for i := range fanOut {
		if !n.isHole(i) {
			return false
		}
	}
	return true
}

// setSequence records the commit that writes the page.
func (n *node) setSequence(seq uint64) { binary.LittleEndian.PutUint64(n.page[16:], seq) }

var errTagPageHeader = errors.New("tag page header does not match its place")

// check validates the plaintext of a tag page that was read for n.id.
func (n *node) check() error {
	h := n.page[:tagPageHeader]
	if binary.LittleEndian.Uint32(h) != tagPageMagic || h[4] != n.id.height ||
		binary.LittleEndian.Uint64(h[8:]) != n.id.index || !allZero(h[5:8]) || !allZero(h[24:]) {
		return errTagPageHeader
	}
	return checkEntries(n.page[tagPageHeader:], n.id.height == 1)
}

// allZero reports whether b holds zeros only.
func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
