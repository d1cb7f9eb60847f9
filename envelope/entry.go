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

// entry says where a sealed page is and how to open it. The zero entry is a hole.
type entry struct {
	page  uint64 // physical page, 40 bits
	epoch uint16 // of the subkey
	nonce [nonceSize]byte
	tag   [tagSize]byte
}

// hole reports whether e names no page.
func (e *entry) hole() bool { return e.page == 0 }

// put encodes e: page u40, flags u8 (0), epoch u16, nonce, tag.
func (e *entry) put(b []byte) {
	binary.LittleEndian.PutUint64(b, e.page)
	b[5] = 0
	binary.LittleEndian.PutUint16(b[6:], e.epoch)
	copy(b[8:], e.nonce[:])
	copy(b[20:], e.tag[:])
}

// getEntry decodes b, which checkEntry has accepted.
func getEntry(b []byte) entry {
	var e entry
	e.page = binary.LittleEndian.Uint64(b) & (1<<40 - 1)
	e.epoch = binary.LittleEndian.Uint16(b[6:])
	copy(e.nonce[:], b[8:20])
	copy(e.tag[:], b[20:36])
	return e
}

var (
	errEntryFlags = errors.New("entry has flags unknown to this build")
	errEntryPage  = errors.New("entry names a root page or is a hole that is not all zero")
)

// checkEntry refuses encodings that this version does not write.
func checkEntry(b []byte) error {
	if b[5] != 0 {
		return errEntryFlags
	}
	e := getEntry(b)
	if e.page < firstPage && e != (entry{}) {
		return errEntryPage
	}
	return nil
}

// checkEntries applies checkEntry to each of the entries in b.
func checkEntries(b []byte) error {
	for i := 0; i+entrySize <= len(b); i += entrySize {
		if err := checkEntry(b[i : i+entrySize]); err != nil {
			return fmt.Errorf("entry %d: %w", i/entrySize, err)
		}
	}
	return nil
}
