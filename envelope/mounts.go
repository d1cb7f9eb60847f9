package envelope

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
)

// MountsFile is the store's name of the mount states.
const MountsFile = "kmsfs.mounts"

// MaxUncleanMounts is how many mounts that ended uncleanly are remembered one by one.
const MaxUncleanMounts = 4096

const (
	mountsVersion    = 1
	mountsHeaderSize = 16 // version u8, flags u8, count u16, zero u32, current u64
	mountsMACSize    = 16
	mountsOverflow   = 1 << 0
	mountsEnded      = 1 << 1
)

// Mounts is the content of MountsFile: which mount is live, and which ended without a word, so that
// what they wrote last may be torn. Safe for concurrent use.
//
// The protocol is: Begin and flush the result before the mount's first write; End and flush the
// result after its last flush.
type Mounts struct {
	vol *Volume

	mu       sync.Mutex // guards all below
	current  uint64     // the newest mount
	ended    bool       // it ended cleanly, or this process only reads and counts it among the unclean
	unclean  []uint64   // oldest first
	overflow bool       // more than MaxUncleanMounts: every mount but the current counts as unclean
}

// NewMounts returns the state of a volume that was never mounted.
func (v *Volume) NewMounts() *Mounts { return &Mounts{vol: v} }

// UnknownMounts returns the state to go on with when MountsFile is lost or damaged: from then on
// every mount but the live one counts as unclean.
func (v *Volume) UnknownMounts() *Mounts { return &Mounts{vol: v, overflow: true} }

// ParseMounts decodes the content of MountsFile. KindTruncated if it is empty, KindCorrupt if it was
// not sealed by this volume, KindUnsupported for another version.
func (v *Volume) ParseMounts(b []byte) (*Mounts, error) {
	const op = "parse mounts"
	if !v.use() {
		return nil, errClosed(op)
	}
	defer v.done()
	switch n := len(b) - mountsHeaderSize - mountsMACSize; {
	case len(b) == 0:
		return nil, newError(op, KindTruncated, FileID{}, nil)
	case b[0] != mountsVersion:
		return nil, newError(op, KindUnsupported, FileID{}, errors.New("unknown version"))
	case n < 0 || n%8 != 0 || n/8 > MaxUncleanMounts:
		return nil, newError(op, KindCorrupt, FileID{}, errors.New("impossible length"))
	}
	body, mac := b[:len(b)-mountsMACSize], b[len(b)-mountsMACSize:]
	sum := v.mountsMAC(body)
	if !equalMAC(mac, &sum) {
		return nil, newError(op, KindCorrupt, FileID{}, errForged)
	}
	return v.decodeMounts(op, body)
}

// decodeMounts decodes an authentic body of possible length.
func (v *Volume) decodeMounts(op string, body []byte) (*Mounts, error) {
	list := body[mountsHeaderSize:]
	if int(binary.LittleEndian.Uint16(body[2:]))*8 != len(list) {
		return nil, newError(op, KindCorrupt, FileID{}, errors.New("count contradicts the length"))
	}
	if body[1]&^(mountsOverflow|mountsEnded) != 0 || binary.LittleEndian.Uint32(body[4:]) != 0 {
		return nil, newError(op, KindUnsupported, FileID{}, errors.New("reserved bytes in use"))
	}
	m := &Mounts{
		vol:      v,
		current:  binary.LittleEndian.Uint64(body[8:]),
		ended:    body[1]&mountsEnded != 0,
		overflow: body[1]&mountsOverflow != 0,
	}
	if m.ended && m.current == 0 {
		return nil, newError(op, KindCorrupt, FileID{}, errors.New("an end without a mount"))
	}
	for ; len(list) > 0; list = list[8:] {
		m.unclean = append(m.unclean, binary.LittleEndian.Uint64(list))
	}
	return m, nil
}

// Begin makes id the live mount and returns the new content of MountsFile. A mount that is still
// live by the file did not end cleanly. id is random and not zero.
func (m *Mounts) Begin(id uint64) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current != 0 && m.current != id && !m.ended {
		m.addUnclean(m.current)
	}
	m.current, m.ended = id, false
	return m.marshal()
}

// BeginReadOnly is Begin for a mount that writes nothing, not even MountsFile: it knows that no other
// mount is live, so one that the file calls live ended uncleanly.
func (m *Mounts) BeginReadOnly() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current != 0 && !m.ended {
		m.addUnclean(m.current)
		m.ended = true
	}
}

// End says that mount id flushed everything, and returns the new content of MountsFile. Nothing
// changes if id is not the live mount.
func (m *Mounts) End(id uint64) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current == id && id != 0 {
		m.ended = true
	}
	return m.marshal()
}

// Unclean reports whether what mount id wrote last may be torn: it ended without End. The live
// mount is not unclean.
func (m *Mounts) Unclean(id uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id == m.current && id != 0 && !m.ended {
		return false
	}
	return m.overflow || slices.Contains(m.unclean, id)
}

// AnyUnclean reports whether any mount ended without End.
func (m *Mounts) AnyUnclean() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.overflow || len(m.unclean) > 0
}

// Current returns the live mount's id, 0 if there is none.
func (m *Mounts) Current() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return 0
	}
	return m.current
}

// Last returns the id of the newest mount, live or not, 0 if there never was one.
func (m *Mounts) Last() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

// Marshal returns the content of MountsFile. nil after the volume's Wipe.
func (m *Mounts) Marshal() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.marshal()
}

// addUnclean remembers id; beyond the bound it gives up telling mounts apart.
func (m *Mounts) addUnclean(id uint64) {
	switch {
	case m.overflow || slices.Contains(m.unclean, id):
	case len(m.unclean) < MaxUncleanMounts:
		m.unclean = append(m.unclean, id)
	default:
		m.overflow, m.unclean = true, nil
	}
}

// marshal is Marshal with the lock held.
func (m *Mounts) marshal() []byte {
	if !m.vol.use() {
		return nil
	}
	defer m.vol.done()
	var flags byte
	if m.overflow {
		flags |= mountsOverflow
	}
	if m.ended {
		flags |= mountsEnded
	}
	b := []byte{mountsVersion, flags}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.unclean)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, m.current)
	for _, id := range m.unclean {
		b = binary.LittleEndian.AppendUint64(b, id)
	}
	sum := m.vol.mountsMAC(b)
	return append(b, sum[:mountsMACSize]...)
}

// mountsMAC computes HMAC(mounts, volume id || body).
func (v *Volume) mountsMAC(body []byte) [KeySize]byte { return v.mounts.mac(v.id[:], body) }
