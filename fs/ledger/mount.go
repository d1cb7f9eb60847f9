package ledger

import (
	"fmt"
	"slices"
)

// Lineage compares the mount that was the last by the store's record, 0 for none, with the ledger's. A
// mount that the ledger knows and that was not the last shows that the store is older: a *Violation. One that it
// does not know used the volume elsewhere, or without a ledger: every directory is learned anew, and
// elsewhere is true.
func (l *Ledger) Lineage(last uint64) (elsewhere bool, err error) {
	if l == nil {
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = &last
	m := l.state.mounts
	n := len(m)
	if l.accepting || n == 0 || m[n-1] == last || l.state.pending && (n == 1 || m[n-2] == last) {
		return false, nil
	}
	if last == 0 || slices.Contains(m, last) {
		return false, &Violation{What: "store", Expected: fmt.Sprintf("mount %016x as its last", m[n-1]), Found: fmt.Sprintf("%016x, which was before", last)}
	}
	l.state.allFlux()
	if l.readOnly {
		return true, nil
	}
	return true, l.compact()
}

// settle records, with what is written next, that a mount is the store's last; mu is held.
func (l *Ledger) settle(last uint64) {
	r := record{kind: recStarted, n: last}
	l.state.applyMount(&r)
	l.put(r)
}

// Start records that a mount begins, before the store does. What Lineage was told is recorded with it:
// any number of mounts may fail to begin, and none of them is forgotten.
func (l *Ledger) Start(mount uint64) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != nil && len(l.state.mounts) > 0 {
		l.settle(*l.last)
	}
	r := record{kind: recStart, n: mount, id: l.boot}
	l.state.applyMount(&r)
	l.put(r)
	return l.write(true)
}

// Started records that the mount is on the store's record.
func (l *Ledger) Started() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(l.state.mounts[len(l.state.mounts)-1])
	return l.write(false)
}

// End records a clean end: the caller has made a checkpoint, and nothing has changed since.
func (l *Ledger) End() error {
	if l == nil || l.readOnly {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := record{kind: recEnd}
	l.state.applyMount(&r)
	l.put(r)
	return l.write(true)
}

// Renames checks the rename log: it must hold the newest entry that is known. entry returns the
// fingerprint of an entry, false when the log has none of that sequence or has retired it; retired
// is the sequence up to which it has.
func (l *Ledger) Renames(entry func(seq uint64) (Tag, bool), newest, retired uint64) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.state.renames
	if known == 0 || retired >= known {
		return nil
	}
	if id, ok := entry(known); !ok || id != l.state.renameID {
		return &Violation{What: "rename log", Expected: fmt.Sprintf("entry %d", known), Found: fmt.Sprintf("another history of %d entries", newest)}
	}
	return nil
}

// RenamesDurable records the newest entry of the rename log.
func (l *Ledger) RenamesDurable(seq uint64, id Tag) {
	if l == nil || seq == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq != l.state.renames || id != l.state.renameID {
		r := record{kind: recRenames, n: seq, id: id}
		l.state.apply(&r)
		l.put(r)
	}
}

// VolumeFile checks the volume file's digest: one that was seen before and is not the last that was
// seen is an old one. A new one, authentic as it is, is the newest.
func (l *Ledger) VolumeFile(digest Tag) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.state.volumes
	switch i := slices.Index(v, digest); {
	case i >= 0 && i == len(v)-1:
		return nil
	case i >= 0 && !l.accepting:
		return &Violation{What: "volume file", Expected: "the newest that was seen", Found: "an older one"}
	}
	r := record{kind: recVolume, id: digest}
	l.state.apply(&r)
	l.put(r)
	return nil
}
