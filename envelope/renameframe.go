package envelope

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// MaxLoggedPath is the longest path in the rename log, in bytes.
	MaxLoggedPath = 32 << 10

	frameHeaderSize = 16 // magic u32, length u32, sequence u64
	frameMagic      = 0x4c52534b
	frameAlign      = 64
	framePlainSize  = 8 // flags u8, zero*3, old length u16, new length u16
	maxFrame        = (frameHeaderSize + messageOverhead + framePlainSize + 2*MaxLoggedPath + frameAlign - 1) &^ (frameAlign - 1)

	frameExchange = 1 << 0
	frameCancel   = 1 << 1
	frameBase     = 1 << 2 // first frame only: the log begins after this sequence
)

// ParseRenameLog decodes the file and returns the length of its valid part, in bytes: what follows
// is an append that was cut off by a crash, and is to be truncated before the next one. KindCorrupt
// if a frame was edited, dropped, moved or comes from elsewhere; an older state of the whole file is
// not told from the newest, but slots with a LogSeq above Seq show it.
func (v *Volume) ParseRenameLog(b []byte) (l *RenameLog, validLen int64, err error) {
	const op = "parse rename log"
	if !v.use() {
		return nil, 0, errClosed(op)
	}
	defer v.done()
	l = v.NewRenameLog()
	rest := b
	for len(rest) > 0 {
		n, err := l.parseFrame(rest)
		if errors.Is(err, errTorn) && len(rest) <= maxFrame {
			break
		}
		if err != nil {
			return nil, 0, newError(op, KindCorrupt, FileID{}, fmt.Errorf("entry %d: %w", l.seq()+1, err))
		}
		rest = rest[n:]
	}
	return l, int64(len(b) - len(rest)), nil
}

// errTorn says that a frame may be the rest of an append that a crash cut off.
var errTorn = errors.New("cut off, with more after it")

// parseFrame takes the first frame of b into the log and returns its length. The caller holds the
// subkeys and shares the log with nobody yet.
func (l *RenameLog) parseFrame(b []byte) (int, error) {
	n := frameLen(b)
	if n < 0 {
		return 0, errors.New("malformed frame")
	}
	if n == 0 || n > len(b) {
		return 0, errTorn
	}
	frame := b[:n]
	plain, ok := l.vol.renames.open(frame[frameHeaderSize:], l.vol.renameAAD(frame[:frameHeaderSize], l.lastTag()))
	if !ok {
		if n == len(b) {
			return 0, errTorn
		}
		return 0, errForged
	}
	return n, l.take(frame, plain)
}

// frameLen returns the length that the frame at the start of b says, 0 if it is not all written,
// -1 if no frame says so.
func frameLen(b []byte) int {
	if len(b) < frameHeaderSize {
		return 0
	}
	magic, n := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	switch {
	case magic == 0 && n == 0: // the file's length was on disk, the page was not
		return 0
	case magic != frameMagic || n%frameAlign != 0 || n > maxFrame || n < frameHeaderSize+messageOverhead+framePlainSize:
		return -1
	}
	return int(n)
}

// take adds the entry of an authentic frame.
func (l *RenameLog) take(frame, plain []byte) error {
	seq := binary.LittleEndian.Uint64(frame[8:])
	first := l.seq() == 0 && l.baseTag == [tagSize]byte{}
	if first && bytes.Equal(plain, encodeRename(frameBase, "", "")) {
		l.base, l.baseTag = seq, frameTag(frame)
		return nil
	}
	e, err := decodeRename(seq, plain)
	switch {
	case err != nil:
		return err
	case seq != l.seq()+1:
		return fmt.Errorf("sequence %d", seq)
	case e.Cancel && l.target(e) == nil:
		return errors.New("cancels nothing")
	}
	l.add(e, frame)
	return nil
}

// decodeRename decodes an authentic plaintext; it takes nothing that encodeRename does not write.
func decodeRename(seq uint64, p []byte) (RenameEntry, error) {
	oldLen, newLen := int(binary.LittleEndian.Uint16(p[4:])), int(binary.LittleEndian.Uint16(p[6:]))
	if p[0]&^(frameExchange|frameCancel) != 0 || framePlainSize+oldLen+newLen > len(p) {
		return RenameEntry{}, errors.New("malformed entry")
	}
	paths := string(p[framePlainSize : framePlainSize+oldLen+newLen])
	e := RenameEntry{
		Seq: seq, Exchange: p[0]&frameExchange != 0, Cancel: p[0]&frameCancel != 0,
		Old: paths[:oldLen], New: paths[oldLen:],
	}
	if !bytes.Equal(p, encodeRename(p[0], e.Old, e.New)) {
		return RenameEntry{}, errors.New("malformed entry")
	}
	_, err := checkRename(e)
	return e, err
}

// encodeRename encodes the plaintext of an entry, padded so that the frame's length is a multiple
// of frameAlign.
func encodeRename(flags byte, from, to string) []byte {
	used := frameHeaderSize + messageOverhead + framePlainSize + len(from) + len(to)
	padding := -used & (frameAlign - 1)
	p := make([]byte, framePlainSize, framePlainSize+len(from)+len(to)+padding)
	p[0] = flags
	binary.LittleEndian.PutUint16(p[4:], uint16(len(from)))
	binary.LittleEndian.PutUint16(p[6:], uint16(len(to)))
	p = append(append(p, from...), to...)
	return append(p, make([]byte, padding)...)
}

// sealRename returns the frame of an entry that follows the frame with tag prev, nil after Wipe.
func (v *Volume) sealRename(e RenameEntry, prev [tagSize]byte) []byte {
	flags := boolByte(e.Exchange)*frameExchange | boolByte(e.Cancel)*frameCancel
	return v.sealFrame(e.Seq, encodeRename(flags, e.Old, e.New), prev)
}

// sealFrame returns header || salt || ciphertext || tag, nil after Wipe.
func (v *Volume) sealFrame(seq uint64, plain []byte, prev [tagSize]byte) []byte {
	if !v.use() {
		return nil
	}
	defer v.done()
	b := binary.LittleEndian.AppendUint32(nil, frameMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(frameHeaderSize+messageOverhead+len(plain)))
	b = binary.LittleEndian.AppendUint64(b, seq)
	return v.renames.seal(b, plain, v.renameAAD(b, prev))
}

// renameAAD binds a frame to the volume, its header and the frame before it.
func (v *Volume) renameAAD(header []byte, prev [tagSize]byte) []byte {
	aad := append([]byte(nil), v.id[:]...)
	aad = append(aad, header...)
	return append(aad, prev[:]...)
}

// frameTag returns the authentication tag at the end of a frame.
func frameTag(frame []byte) [tagSize]byte { return [tagSize]byte(frame[len(frame)-tagSize:]) }
