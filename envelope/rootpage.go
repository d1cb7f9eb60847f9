package envelope

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

const (
	// PageSize is the unit of everything in a backing file, in bytes; it is also the block size.
	PageSize = 4096
	// MaxFileSize is the largest plaintext size of a file, in bytes (16 TiB).
	MaxFileSize = 1 << 44
	// MaxInline is the largest file that can live in its root page, in bytes.
	MaxInline = 2560

	// headerSize is the length of the root page's public header, in bytes.
	headerSize = 168
	// rootSaltSize is the length of the salt of a root page's own key, in bytes.
	rootSaltSize = 24
	// bodyEnd is where the sealed body of a root page ends and its tag begins.
	bodyEnd = PageSize - tagSize
	// maxSequence bounds commit sequences, so that adding to one never overflows.
	maxSequence = 1 << 62
)

// Offsets in the root page's header.
const (
	offMagic      = 0
	offSuite      = 8
	offFlags      = 10
	offAreaLen    = 12
	offBodyLen    = 14
	offVolume     = 16
	offFile       = 32
	offCommitment = 48
	offSequence   = 80
	offMount      = 88
	offRootSalt   = 96
	offStat       = 120
	offRevision   = 156
	offCRC        = 160
	offZero       = 164
)

// FlagCompress in Header.Flags says that what is written to the file is compressed where that saves
// space. What is stored already may be of either kind.
const FlagCompress uint16 = 1

// rootMagic begins every root page; its last byte is the format's version.
var rootMagic = [8]byte{'K', 'M', 'S', 'F', 'S', 'F', 0, 1}

// castagnoli is the polynomial of the checksum that tells torn root pages.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is the public part of a root page: readable without any key, and to be believed only as
// far as what it holds is authenticated (slot area and stat record under the volume key, the rest
// by the sealed body once the file is open).
type Header struct {
	Suite      uint16
	Flags      uint16 // FlagCompress or 0
	VolumeID   VolumeID
	FileID     FileID
	Commitment [32]byte
	Sequence   uint64 // commit sequence, from 1
	MountID    uint64 // of the mount that wrote this commit
	Revision   uint32 // counts RewriteSlots since that commit
	SlotArea   []byte // encoded slot table
	StatRecord [StatRecordSize]byte
	SlotSpace  int // longest slot area that fits beside the body, in bytes

	rootSalt [rootSaltSize]byte
	bodyLen  int
}

// newer reports whether h is a later state of the file than o.
func (h *Header) newer(o *Header) bool {
	if h.Sequence != o.Sequence {
		return h.Sequence > o.Sequence
	}
	return h.Revision > o.Revision
}

// put encodes h and its slot area into page, leaving the checksum to sealChecksum.
func (h *Header) put(page *[PageSize]byte) {
	le := binary.LittleEndian
	copy(page[offMagic:], rootMagic[:])
	le.PutUint16(page[offSuite:], h.Suite)
	le.PutUint16(page[offFlags:], h.Flags)
	le.PutUint16(page[offAreaLen:], uint16(len(h.SlotArea)))
	le.PutUint16(page[offBodyLen:], uint16(h.bodyLen))
	copy(page[offVolume:], h.VolumeID[:])
	copy(page[offFile:], h.FileID[:])
	copy(page[offCommitment:], h.Commitment[:])
	le.PutUint64(page[offSequence:], h.Sequence)
	le.PutUint64(page[offMount:], h.MountID)
	copy(page[offRootSalt:], h.rootSalt[:])
	copy(page[offStat:], h.StatRecord[:])
	le.PutUint32(page[offRevision:], h.Revision)
	copy(page[headerSize:], h.SlotArea)
}

// sealChecksum writes the CRC-32C of page, computed with its own field zero.
func sealChecksum(page *[PageSize]byte) {
	binary.LittleEndian.PutUint32(page[offCRC:], pageChecksum(page))
}

// pageChecksum computes the CRC-32C of page as if its checksum field were zero.
func pageChecksum(page *[PageSize]byte) uint32 {
	var zero [4]byte
	c := crc32.Update(0, castagnoli, page[:offCRC])
	c = crc32.Update(c, castagnoli, zero[:])
	return crc32.Update(c, castagnoli, page[offZero:])
}

// rootAAD returns what the body of a root page is bound to: the header without the parts that
// RewriteSlots may change (slot area length, revision, checksum).
func rootAAD(page *[PageSize]byte) [headerSize]byte {
	aad := [headerSize]byte(page[:headerSize])
	clear(aad[offAreaLen:offBodyLen])
	clear(aad[offRevision:offZero])
	return aad
}

var (
	errBadMagic    = errors.New("not a root page")
	errVersion     = errors.New("unknown format version")
	errSuite       = errors.New("unknown cipher suite")
	errFlags       = errors.New("flags unknown to this build")
	errChecksum    = errors.New("checksum does not match: torn or damaged")
	errHeaderField = errors.New("header field out of range")
)

// decodeHeader reads the header's fields without judging them.
func decodeHeader(page *[PageSize]byte) Header {
	le := binary.LittleEndian
	return Header{
		Suite:      le.Uint16(page[offSuite:]),
		Flags:      le.Uint16(page[offFlags:]),
		VolumeID:   VolumeID(page[offVolume:offFile]),
		FileID:     FileID(page[offFile:offCommitment]),
		Commitment: [32]byte(page[offCommitment:offSequence]),
		Sequence:   le.Uint64(page[offSequence:]),
		MountID:    le.Uint64(page[offMount:]),
		Revision:   le.Uint32(page[offRevision:]),
		StatRecord: [StatRecordSize]byte(page[offStat:offRevision]),
		rootSalt:   [rootSaltSize]byte(page[offRootSalt:offStat]),
		bodyLen:    int(le.Uint16(page[offBodyLen:])),
	}
}

// parseHeader reads the public header of a root page. The kind of failure is KindUnsupported or
// KindCorrupt.
func parseHeader(page *[PageSize]byte) (*Header, Kind, error) {
	if [7]byte(page[:7]) != [7]byte(rootMagic[:7]) {
		return nil, KindCorrupt, errBadMagic
	}
	if page[7] != rootMagic[7] {
		return nil, KindUnsupported, errVersion
	}
	if binary.LittleEndian.Uint32(page[offCRC:]) != pageChecksum(page) {
		return nil, KindCorrupt, errChecksum
	}
	h := decodeHeader(page)
	if h.Suite != SuiteAES256GCM {
		return nil, KindUnsupported, errSuite
	}
	if h.Flags&^FlagCompress != 0 {
		return nil, KindUnsupported, errFlags
	}
	area := int(binary.LittleEndian.Uint16(page[offAreaLen:]))
	h.SlotSpace = bodyEnd - headerSize - h.bodyLen
	if h.bodyLen < inodeSize || area > h.SlotSpace || area > MaxSlotArea || h.Sequence == 0 ||
		h.Sequence > maxSequence || !allZero(page[offZero:headerSize]) ||
		!allZero(page[headerSize+area:bodyEnd-h.bodyLen]) {
		return nil, KindCorrupt, errHeaderField
	}
	h.SlotArea = append([]byte(nil), page[headerSize:headerSize+area]...)
	return &h, 0, nil
}
