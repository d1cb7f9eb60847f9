package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// entrySize is the length of an encoded entry, in bytes.
const entrySize = 36

// firstPage is the first physical page after the two root slots.
const firstPage = 2

// Flags of the entries of a compressed chunk, see chunk.go.
const (
	entryStream uint8 = 1 // names a page of the chunk's stream
	entryRest   uint8 = 2 // names no page: the block is in the stream
)

// entry says where a sealed page is and how to open it. The zero entry is a hole.
type entry struct {
	page  uint64 // physical page, 40 bits
	flags uint8
	epoch uint16 // of the subkey
	nonce [nonceSize]byte
	tag   [tagSize]byte
}

// hole reports whether there is nothing but zeros where e leads to.
func (e *entry) hole() bool { return e.page == 0 && e.flags == 0 }

// put encodes e: page u40, flags u8, epoch u16, nonce, tag.
func (e *entry) put(b []byte) {
	binary.LittleEndian.PutUint64(b, e.page)
	b[5] = e.flags
	binary.LittleEndian.PutUint16(b[6:], e.epoch)
	copy(b[8:], e.nonce[:])
	copy(b[20:], e.tag[:])
}

// getEntry decodes b, which checkEntry has accepted.
func getEntry(b []byte) entry {
	var e entry
	e.page = binary.LittleEndian.Uint64(b) & (1<<40 - 1)
	e.flags = b[5]
	e.epoch = binary.LittleEndian.Uint16(b[6:])
	copy(e.nonce[:], b[8:20])
	copy(e.tag[:], b[20:36])
	return e
}

var (
	errEntryFlags = errors.New("entry has flags that are unknown or do not belong here")
	errEntryPage  = errors.New("entry names a root page, or names none and is not all zero")
	errChunkShape = errors.New("entries are not those of a compressed chunk")
)

// checkEntry refuses encodings that this version does not write.
func checkEntry(b []byte) error {
	e := getEntry(b)
	switch {
	case e.flags == entryRest && e != (entry{flags: entryRest}), e.flags == entryStream && e.page < firstPage,
		e.flags == 0 && e.page < firstPage && e != (entry{}):
		return errEntryPage
	case e.flags > entryRest:
		return errEntryFlags
	}
	return nil
}

// checkEntries refuses what no list of entries holds. leaf says that they name data blocks: only
// there are compressed chunks.
func checkEntries(b []byte, leaf bool) error {
	flagged := false
	for i := 0; i+entrySize <= len(b); i += entrySize {
		if err := checkEntry(b[i : i+entrySize]); err != nil {
			return fmt.Errorf("entry %d: %w", i/entrySize, err)
		}
		flagged = flagged || b[i+5] != 0
	}
	switch {
	case !flagged:
		return nil
	case !leaf:
		return errEntryFlags
	}
	const chunkEntries = chunkBlocks * entrySize
	for i := 0; i < len(b); i += chunkEntries {
		if err := checkChunk(b[i:min(i+chunkEntries, len(b))]); err != nil {
			return fmt.Errorf("chunk %d: %w", i/chunkEntries, err)
		}
	}
	return nil
}

// checkChunk refuses entries of one chunk that contradict each other.
func checkChunk(b []byte) error {
	s := shapeOf(len(b)/entrySize, func(i int) uint8 { return b[i*entrySize+5] })
	if s == (shape{}) {
		return nil
	}
	if !s.pays() || !allZero(b[int(s.blocks)*entrySize:]) {
		return errChunkShape
	}
	return nil
}
