package ledger

import "os"

// snapshot is what a checkpoint is about to record.
type snapshot struct {
	files map[ID]change
	dirs  map[ID]live
}

// Changed reports whether a checkpoint would record anything.
func (l *Ledger) Changed() bool {
	if l == nil || l.readOnly {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fresh) > 0 {
		return true
	}
	for id, v := range l.live {
		if v.changed && v.known || l.unrecorded(id, v) {
			return true
		}
	}
	return false
}

// Checkpoint records what has changed: it takes a snapshot, calls flush, which must make everything
// in the store durable, and writes the snapshot as far as it still holds.
func (l *Ledger) Checkpoint(flush func() error) error {
	if l == nil || l.readOnly {
		return nil
	}
	l.checkpoints.Lock()
	defer l.checkpoints.Unlock()
	s := l.snapshot()
	if err := flush(); err != nil {
		l.restore(s)
		return err
	}
	f, err := l.commit(s)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.out, l.stale, l.failed = nil, true, true
		return err
	}
	return nil
}

// snapshot takes the files and directories that changed; a directory that is just being changed waits
// for the next checkpoint.
func (l *Ledger) snapshot() snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := snapshot{files: l.fresh, dirs: make(map[ID]live)}
	l.fresh, l.taken = make(map[ID]change), s.files
	for id, v := range l.live {
		if v.changed && v.known && v.ops == 0 {
			s.dirs[id] = *v
		}
	}
	return s
}

// restore takes back a snapshot that could not be made durable.
func (l *Ledger) restore(s snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = nil
	for id, c := range s.files {
		now, changed := l.fresh[id]
		switch {
		case !changed:
			l.fresh[id] = c
		case !now.gone:
			l.fresh[id] = change{fileState: now.newer(c.fileState)}
		}
	}
}

// commit writes a snapshot whose content is durable in the store, and returns the file, which is still
// to be flushed: a lost end of it only means that more is in flux.
func (l *Ledger) commit(s snapshot) (*os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = nil
	for id, c := range s.files {
		if c.gone {
			l.recordGone(id)
		} else {
			l.record(id, c.fileState)
		}
	}
	l.announce()
	for id, was := range s.dirs {
		v := l.live[id]
		if v == nil || v.ops > 0 || v.gen != was.gen || !v.known {
			continue
		}
		r := record{kind: recDir, id: id, sum: v.sum, flag: v.whole}
		l.state.apply(&r)
		l.put(r)
		v.changed = false
	}
	if l.state.fluxAll {
		l.put(record{kind: recSettled})
	}
	l.marks, l.state.fluxAll = 0, false
	if err := l.write(false); err != nil {
		return nil, err
	}
	if l.wasteful() {
		err := l.compact()
		return l.f, err
	}
	return l.f, nil
}

// unrecorded reports whether a directory that this mount made or changed has no record; mu is held.
func (l *Ledger) unrecorded(id ID, v *live) bool {
	_, recorded := l.state.dirs[id]
	return v.changed && !recorded
}

// announce records every directory that has no record as one in flux; mu is held. It comes before any
// directory is recorded as whole: wherever the log ends then, and whatever a checkpoint skips, a
// directory of which everything is known has none in it that is not known.
func (l *Ledger) announce() {
	for id, v := range l.live {
		if !l.unrecorded(id, v) {
			continue
		}
		for _, r := range []record{{kind: recDir, id: id, sum: v.sum}, {kind: recFlux, id: id}} {
			l.state.apply(&r)
			l.put(r)
		}
	}
}
