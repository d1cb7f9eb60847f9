package envelope

import (
	"encoding/binary"
	"errors"
)

const (
	// StatRecordSize is the length of the stat record in a root page, in bytes.
	StatRecordSize = statTagSize + statPlainSize
	// HintSize is the length of a stat hint, in bytes. Up to 60 fit into an inode of 256 bytes on ext4 under
	// its name; a longer one would take a block for itself.
	HintSize = hintFixedSize + hintTagSize + statPlainSize

	statTagSize   = 28 // the first sivIVSize bytes start the key stream
	hintTagSize   = 16
	statPlainSize = 8
	hintFixedSize = 1 + 16 + 8 + 8
	hintVersion   = 1
)

// First byte of what a stat tag covers; tells records and hints apart.
const (
	statRecord byte = 1
	statHint   byte = 2
)

// SealStat returns the stat record of a root page: the size of file id, in bytes, at commit seq,
// readable with the volume key alone. All zeros after Wipe.
func (v *Volume) SealStat(id FileID, seq, size uint64) [StatRecordSize]byte {
	return [StatRecordSize]byte(v.sealSize(recordHeader(id, seq), size, statTagSize))
}

// OpenStat returns the size in a stat record. KindCorrupt if rec was not sealed for this file and
// commit.
func (v *Volume) OpenStat(id FileID, seq uint64, rec []byte) (uint64, error) {
	const op = "open stat record"
	size, err := v.openSize(op, recordHeader(id, seq), rec, statTagSize)
	if err != nil {
		return 0, newError(op, KindOf(err), id, errors.Unwrap(err))
	}
	return size, nil
}

// recordHeader is what a stat record is bound to.
func recordHeader(id FileID, seq uint64) []byte {
	h := append([]byte{statRecord}, id[:]...)
	return binary.LittleEndian.AppendUint64(h, seq)
}

// Hint is a copy of a file's size outside the file, kept in an extended attribute so that stat needs
// no read of the file. It is authentic, but it may be older than the file, or stand at another file:
// the root page is the truth, and after an unclean end of the mount MountID hints are not believed.
type Hint struct {
	FileID   FileID
	Sequence uint64 // commit that the size belongs to
	MountID  uint64 // mount that wrote it
	Size     uint64 // bytes
	Durable  bool   // a commit of the file was durable when it was written
}

// hintDurable is the bit of a hint's sequence that says Durable.
const hintDurable = 1 << 63

// SealHint encodes a hint that is not Durable: version u8, file id, sequence u64, mount id u64, then tag
// and sealed size. All zeros after Wipe.
func (v *Volume) SealHint(id FileID, seq, mountID, size uint64) []byte {
	fixed := hintHeader(Hint{FileID: id, Sequence: seq, MountID: mountID})
	return append(fixed, v.sealSize(append([]byte{statHint}, fixed...), size, hintTagSize)...)
}

// SealDurableHint is SealHint for a file of which a commit is durable: Durable.
func (v *Volume) SealDurableHint(id FileID, seq, mountID, size uint64) []byte {
	return v.SealHint(id, seq|hintDurable, mountID, size)
}

// OpenHint decodes a hint. KindUnsupported for another version, KindCorrupt for what this volume
// did not seal.
func (v *Volume) OpenHint(b []byte) (Hint, error) {
	const op = "open stat hint"
	if len(b) > 0 && b[0] != hintVersion {
		return Hint{}, newError(op, KindUnsupported, FileID{}, errors.New("unknown version"))
	}
	if len(b) != HintSize {
		return Hint{}, newError(op, KindCorrupt, FileID{}, errors.New("wrong length"))
	}
	h := Hint{
		FileID:   FileID(b[1:17]),
		Sequence: binary.LittleEndian.Uint64(b[17:]),
		MountID:  binary.LittleEndian.Uint64(b[25:]),
	}
	var err error
	h.Durable, h.Sequence = h.Sequence&hintDurable != 0, h.Sequence&^uint64(hintDurable)
	h.Size, err = v.openSize(op, append([]byte{statHint}, b[:hintFixedSize]...), b[hintFixedSize:], hintTagSize)
	if err != nil {
		return Hint{}, err
	}
	return h, nil
}

// hintHeader encodes everything but the size.
func hintHeader(h Hint) []byte {
	b := append(make([]byte, 0, HintSize), hintVersion)
	b = append(b, h.FileID[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.Sequence)
	return binary.LittleEndian.AppendUint64(b, h.MountID)
}

// sealSize returns the tag over header and size, n bytes of it, and the encrypted size.
func (v *Volume) sealSize(header []byte, size uint64, n int) []byte {
	out := make([]byte, n+statPlainSize)
	if !v.use() {
		return out
	}
	defer v.done()
	var plain [statPlainSize]byte
	binary.LittleEndian.PutUint64(plain[:], size)
	s := v.stats.mac.get()
	defer v.stats.mac.put(s)
	copy(out, v.stats.seal(s, header, string(plain[:]), n))
	return out
}

// openSize is the inverse of sealSize.
func (v *Volume) openSize(op string, header, sealed []byte, n int) (uint64, error) {
	if !v.use() {
		return 0, errClosed(op)
	}
	defer v.done()
	if len(sealed) != n+statPlainSize {
		return 0, newError(op, KindCorrupt, FileID{}, errors.New("wrong length"))
	}
	s := v.stats.mac.get()
	defer v.stats.mac.put(s)
	plain, ok := v.stats.open(s, header, append(s.text[:0], sealed...), n)
	if !ok {
		return 0, newError(op, KindCorrupt, FileID{}, errForged)
	}
	return binary.LittleEndian.Uint64(plain), nil
}
