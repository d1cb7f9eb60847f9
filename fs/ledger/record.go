package ledger

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// The file is a header frame and then frames of records:
//
//	frame   length u32 of what follows the checksum, CRC-32C u32 of that, records
//	record  kind u8, fields of fixed length by kind
//
// A frame that is cut off or whose checksum is wrong ends the log: a crash came while it was written.
// All numbers are little-endian.
const (
	frameHeader = 8
	maxFrame    = 1 << 20
)

// The kinds of records and the bytes after the kind.
const (
	recHeader   = 'H' // first record: format u8, volume id
	recFile     = 'F' // file id, commit sequence u64, slot table version u32
	recFileGone = 'f' // file id
	recDir      = 'D' // directory id, sum (Hi u64, Lo u64, N u32), whole u8
	recDirGone  = 'd' // directory id
	recFlux     = 'X' // directory id: it is about to change
	recFluxAll  = 'A' // so are any, until the next checkpoint
	recSettled  = 'C' // a checkpoint: what is in flux is marked one by one again
	recStart    = 'S' // mount id u64, boot id: a mount begins
	recStarted  = 'M' // mount id u64: the store has it on record as the last, 0 for none
	recEnd      = 'E' // it ended, everything before is settled
	recRenames  = 'R' // rename log: sequence u64, fingerprint of that entry
	recVolume   = 'V' // digest of a volume file that was seen
	format      = 1
	doubtedBit  = 0x80 // of the header's format: a mark could not be written, take every sum for old
)

// fieldBytes is the length of each kind's fields.
var fieldBytes = map[byte]int{
	recHeader: 17, recFile: 28, recFileGone: 16, recDir: 37, recDirGone: 16, recFlux: 16, recFluxAll: 0, recSettled: 0,
	recStart: 24, recStarted: 8, recEnd: 0, recRenames: 24, recVolume: 16,
}

// record is one record: its kind and fields.
type record struct {
	kind byte
	id   ID     // the 16 bytes of any kind
	n    uint64 // the u64 of any kind; format for recHeader
	sum  Sum
	ver  uint32
	flag bool
}

// append encodes r.
func (r *record) append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, r.kind)
	switch r.kind {
	case recHeader:
		b = append(append(b, byte(r.n)), r.id[:]...)
	case recFile:
		b = le.AppendUint32(le.AppendUint64(append(b, r.id[:]...), r.n), r.ver)
	case recDir:
		b = le.AppendUint64(le.AppendUint64(append(b, r.id[:]...), r.sum.Hi), r.sum.Lo)
		b = append(le.AppendUint32(b, r.sum.N), 0)
		if r.flag {
			b[len(b)-1] = 1
		}
	case recStart, recRenames:
		b = append(le.AppendUint64(b, r.n), r.id[:]...)
	case recStarted:
		b = le.AppendUint64(b, r.n)
	case recFluxAll, recSettled, recEnd:
	default:
		b = append(b, r.id[:]...)
	}
	return b
}

var errMalformed = errors.New("malformed record")

// decode takes the first record of b and returns the rest.
func decode(b []byte) (r record, rest []byte, err error) {
	size, known := fieldBytes[b[0]]
	if !known || len(b) < 1+size {
		return r, nil, errMalformed
	}
	le := binary.LittleEndian
	r.kind = b[0]
	f, rest := b[1:1+size], b[1+size:]
	switch r.kind {
	case recHeader:
		r.n, r.id = uint64(f[0]), ID(f[1:])
	case recFile:
		r.id, r.n, r.ver = ID(f[:16]), le.Uint64(f[16:]), le.Uint32(f[24:])
	case recDir:
		r.id, r.sum = ID(f[:16]), Sum{Hi: le.Uint64(f[16:]), Lo: le.Uint64(f[24:]), N: le.Uint32(f[32:])}
		r.flag = f[36] == 1
		if f[36] > 1 {
			return r, nil, errMalformed
		}
	case recStart, recRenames:
		r.n, r.id = le.Uint64(f), ID(f[8:])
	case recStarted:
		r.n = le.Uint64(f)
	case recFluxAll, recSettled, recEnd:
	default:
		r.id = ID(f)
	}
	return r, rest, nil
}

// frame wraps records.
func frame(records []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(records)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(records, crc32.MakeTable(crc32.Castagnoli)))
	return append(b, records...)
}

// unframe returns the records of the first frame of b and its length; ok is false when b does not
// begin with a whole frame.
func unframe(b []byte) (records []byte, n int, ok bool) {
	if len(b) < frameHeader {
		return nil, 0, false
	}
	size := int(binary.LittleEndian.Uint32(b))
	if size == 0 || size > maxFrame || size > len(b)-frameHeader {
		return nil, 0, false
	}
	records = b[frameHeader : frameHeader+size]
	sum := crc32.Checksum(records, crc32.MakeTable(crc32.Castagnoli))
	return records, frameHeader + size, sum == binary.LittleEndian.Uint32(b[4:])
}
