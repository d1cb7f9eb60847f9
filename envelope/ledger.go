package envelope

import (
	"encoding/binary"
)

// LedgerTag returns the digest of an object in the context that parts make, for a ledger outside the
// store: HMAC(ledger, each part behind its length as u32) cut to 16 bytes. Zero after Wipe.
func (v *Volume) LedgerTag(parts ...string) (tag [16]byte) {
	if !v.use() {
		return tag
	}
	defer v.done()
	var buf [512]byte
	b := buf[:0]
	for _, p := range parts {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	sum := v.ledger.mac(b)
	copy(tag[:], sum[:])
	return tag
}

// Fingerprint returns the digest of the entry with sequence seq for a ledger; false when the log has
// none, or has retired it.
func (l *RenameLog) Fingerprint(seq uint64) (tag [16]byte, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if seq <= l.base || seq > l.seq() {
		return tag, false
	}
	e := l.entries[seq-l.base-1]
	flags := boolByte(e.Exchange)*frameExchange | boolByte(e.Cancel)*frameCancel
	number := binary.LittleEndian.AppendUint64(nil, seq)
	return l.vol.LedgerTag("rename", string(number), string([]byte{flags}), e.Old, e.New), true
}
