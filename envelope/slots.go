package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits of the slot area.
const (
	// MaxSlotArea is the longest slot area, in bytes; it leaves room in the root page for an inode
	// record and a few entries.
	MaxSlotArea = 3584
	// MaxWrapped is the longest wrapped data key of the encoding, in bytes. What fits is bounded
	// by MaxSlotArea.
	MaxWrapped = 6144

	slotHeaderSize = 8  // version u32, count u16, zero u16
	slotFixedSize  = 32 // a slot less its wrapped key
	slotMACSize    = 16
	slotDropping   = 1 << 0
)

// SlotKind says what wrapped the data key in a slot.
type SlotKind = uint8

// The kinds of Slot.
const (
	SlotPath     SlotKind = 1 // key of the volume file, encryption context of one path
	SlotRecovery SlotKind = 2 // the volume's recovery recipient, at most one; context of the file id
)

// Slot is one wrapping of a file's data key.
type Slot struct {
	Kind     SlotKind
	KeyIndex uint8    // index into VolumeFile.Keys
	Dropping bool     // to be removed once the rename or unlink under way has happened
	LogSeq   uint64   // rename log's sequence at wrapping, see RenameLog.PathAt
	Tag      [16]byte // PathTag of the path at wrapping; Recipient.Tag in a recovery slot
	Wrapped  []byte   // ciphertext blob of the key service, or of RSAES-OAEP
}

// SlotTable is the content of a slot area.
type SlotTable struct {
	Version uint32 // grows with each change of the table
	Slots   []Slot
}

// PathTag returns HMAC(path-tag, path) cut to 16 bytes: finds the slot of a path without showing
// the path. Zero after Wipe.
func (v *Volume) PathTag(path string) (tag [16]byte) {
	if !v.use() {
		return tag
	}
	defer v.done()
	sum := v.pathTags.mac([]byte(path))
	copy(tag[:], sum[:])
	return tag
}

// SealSlots encodes the slot area of file id, authenticated under the volume key. Its first four
// bytes are the table's version, little-endian. KindSlotsFull if it exceeds MaxSlotArea,
// KindInvalid for a slot without a wrapped key or of unknown kind.
func (v *Volume) SealSlots(id FileID, t SlotTable) ([]byte, error) {
	const op = "seal slots"
	if !v.use() {
		return nil, errClosed(op)
	}
	defer v.done()
	size := slotHeaderSize + slotMACSize
	for i, s := range t.Slots {
		if len(s.Wrapped) == 0 || len(s.Wrapped) > MaxWrapped || !knownSlotKind(s.Kind) {
			return nil, newError(op, KindInvalid, id, fmt.Errorf("slot %d: kind %d, wrapped key of %d bytes", i, s.Kind, len(s.Wrapped)))
		}
		size += slotFixedSize + len(s.Wrapped)
	}
	if !soundRecovery(t.Slots) {
		return nil, newError(op, KindInvalid, id, errRecoverySlot)
	}
	if size > MaxSlotArea {
		return nil, newError(op, KindSlotsFull, id, fmt.Errorf("%d slots need %d bytes, room for %d", len(t.Slots), size, MaxSlotArea))
	}
	b := encodeSlots(make([]byte, 0, size), t)
	sum := v.slotMAC(id, b)
	return append(b, sum[:slotMACSize]...), nil
}

// OpenSlots decodes the slot area of file id. KindCorrupt if it was not sealed for this file of
// this volume, KindUnsupported for slots that a later version of the format may have.
func (v *Volume) OpenSlots(id FileID, area []byte) (SlotTable, error) {
	const op = "open slots"
	if !v.use() {
		return SlotTable{}, errClosed(op)
	}
	defer v.done()
	if len(area) < slotHeaderSize+slotMACSize || len(area) > MaxSlotArea {
		return SlotTable{}, newError(op, KindCorrupt, id, errors.New("impossible length"))
	}
	b, mac := area[:len(area)-slotMACSize], area[len(area)-slotMACSize:]
	sum := v.slotMAC(id, b)
	if !equalMAC(mac, &sum) {
		return SlotTable{}, newError(op, KindCorrupt, id, errForged)
	}
	t, kind, err := decodeSlots(b)
	if err != nil {
		return SlotTable{}, newError(op, kind, id, err)
	}
	return t, nil
}

// ReadSlots decodes a slot area without the volume key. Nothing of it is authenticated: it is what
// anybody can see, good for showing only. Kinds as OpenSlots.
func ReadSlots(area []byte) (SlotTable, error) {
	const op = "read slots"
	if len(area) < slotHeaderSize+slotMACSize || len(area) > MaxSlotArea {
		return SlotTable{}, newError(op, KindCorrupt, FileID{}, errors.New("impossible length"))
	}
	t, kind, err := decodeSlots(area[:len(area)-slotMACSize])
	if err != nil {
		return SlotTable{}, newError(op, kind, FileID{}, err)
	}
	return t, nil
}

// slotMAC computes HMAC(slots, volume id || file id || encoded table).
func (v *Volume) slotMAC(id FileID, table []byte) [KeySize]byte {
	return v.slots.mac(v.id[:], id[:], table)
}

// knownSlotKind reports whether this build can write and read the kind.
func knownSlotKind(k SlotKind) bool { return k == SlotPath || k == SlotRecovery }

// encodeSlots appends the table without its MAC.
func encodeSlots(b []byte, t SlotTable) []byte {
	b = binary.LittleEndian.AppendUint32(b, t.Version)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(t.Slots)))
	b = append(b, 0, 0)
	for _, s := range t.Slots {
		var flags byte
		if s.Dropping {
			flags |= slotDropping
		}
		b = append(b, s.Kind, s.KeyIndex, flags, 0)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(s.Wrapped)))
		b = append(b, 0, 0)
		b = binary.LittleEndian.AppendUint64(b, s.LogSeq)
		b = append(b, s.Tag[:]...)
		b = append(b, s.Wrapped...)
	}
	return b
}

// decodeSlots is the inverse of encodeSlots; it takes nothing that encodeSlots does not write.
func decodeSlots(b []byte) (SlotTable, Kind, error) {
	count := int(binary.LittleEndian.Uint16(b[4:]))
	t := SlotTable{Version: binary.LittleEndian.Uint32(b)}
	if b[6] != 0 || b[7] != 0 {
		return t, KindUnsupported, errors.New("reserved bytes in use")
	}
	b = b[slotHeaderSize:]
	for range count {
		s, rest, kind, err := decodeSlot(b)
		if err != nil {
			return SlotTable{}, kind, fmt.Errorf("slot %d: %w", len(t.Slots), err)
		}
		t.Slots, b = append(t.Slots, s), rest
	}
	if len(b) != 0 {
		return SlotTable{}, KindCorrupt, errors.New("bytes after the last slot")
	}
	if !soundRecovery(t.Slots) {
		return SlotTable{}, KindUnsupported, errRecoverySlot
	}
	return t, 0, nil
}

var errRecoverySlot = errors.New("two recovery slots, or one with a key index, flag or sequence")

// soundRecovery reports whether there is at most one recovery slot, with nothing in the fields that
// only path slots use.
func soundRecovery(slots []Slot) bool {
	n := 0
	for i := range slots {
		s := &slots[i]
		if s.Kind != SlotRecovery {
			continue
		}
		n++
		if n > 1 || s.KeyIndex != 0 || s.Dropping || s.LogSeq != 0 {
			return false
		}
	}
	return true
}

// Recovery returns the recovery slot, nil if there is none.
func (t *SlotTable) Recovery() *Slot {
	for i := range t.Slots {
		if t.Slots[i].Kind == SlotRecovery {
			return &t.Slots[i]
		}
	}
	return nil
}

// decodeSlot decodes the first slot of b and returns what follows it.
func decodeSlot(b []byte) (s Slot, rest []byte, kind Kind, err error) {
	if len(b) < slotFixedSize {
		return s, nil, KindCorrupt, errors.New("cut off")
	}
	if b[2]&^slotDropping != 0 || b[3]|b[6]|b[7] != 0 || !knownSlotKind(b[0]) {
		return s, nil, KindUnsupported, fmt.Errorf("kind %d, flags %#x", b[0], b[2])
	}
	n := int(binary.LittleEndian.Uint16(b[4:]))
	if n == 0 || n > len(b)-slotFixedSize {
		return s, nil, KindCorrupt, fmt.Errorf("wrapped key of %d bytes", n)
	}
	s = Slot{
		Kind: b[0], KeyIndex: b[1], Dropping: b[2]&slotDropping != 0,
		LogSeq:  binary.LittleEndian.Uint64(b[8:]),
		Tag:     [16]byte(b[16:32]),
		Wrapped: append([]byte(nil), b[slotFixedSize:slotFixedSize+n]...),
	}
	return s, b[slotFixedSize+n:], 0, nil
}
