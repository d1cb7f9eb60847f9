package ledger

import "fmt"

// Opened checks a file that is opened: its commit and slot table must not be older than what is known.
// A file that is not known has been put there if everything in its directory is (inWhole); else it is
// learned, as is a later commit. The error is a *Violation.
func (l *Ledger) Opened(id ID, seq uint64, slots uint32, inWhole bool) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known, ok := l.known(id)
	switch {
	case !ok && inWhole:
		return &Violation{What: "file", Expected: "one that was made here and not removed", Found: "one that is not known"}
	case seq < known.seq:
		return &Violation{What: "file", Expected: fmt.Sprintf("commit %d or later", known.seq), Found: fmt.Sprintf("commit %d", seq)}
	case slots < known.slots:
		return &Violation{What: "file", Expected: fmt.Sprintf("slot table %d or later", known.slots), Found: fmt.Sprintf("slot table %d", slots)}
	}
	if seen := (fileState{seq, slots}); !ok || seen != known {
		l.fresh[id] = change{fileState: seen}
	}
	return nil
}

// known returns what is known of a file, recorded or not; mu is held.
func (l *Ledger) known(id ID) (f fileState, ok bool) {
	f, ok = l.state.files[id]
	for _, changed := range []map[ID]change{l.taken, l.fresh} {
		if c, here := changed[id]; here {
			f, ok = f.newer(c.fileState), !c.gone
		}
	}
	return f, ok
}

// Written notes what was written of a file, to be recorded when it is durable. Numbers that are lower
// than the known ones change nothing.
func (l *Ledger) Written(id ID, seq uint64, slots uint32) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fresh[id] = change{fileState: l.fresh[id].newer(fileState{seq, slots})}
}

// Durable records what of a file was made durable by itself.
func (l *Ledger) Durable(id ID, seq uint64, slots uint32) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.record(id, fileState{seq, slots})
}

// record puts a durable state of a file into the log; mu is held.
func (l *Ledger) record(id ID, f fileState) {
	known, ok := l.state.files[id]
	if next := known.newer(f); !ok || next != known {
		r := record{kind: recFile, id: id, n: next.seq, ver: next.slots}
		l.state.apply(&r)
		l.put(r)
	}
}

// Forgotten notes that a file's last name is gone.
func (l *Ledger) Forgotten(id ID) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fresh[id] = change{gone: true}
}

// recordGone removes a file from the log; mu is held.
func (l *Ledger) recordGone(id ID) {
	if _, ok := l.state.files[id]; ok {
		r := record{kind: recFileGone, id: id}
		l.state.apply(&r)
		l.put(r)
	}
}
