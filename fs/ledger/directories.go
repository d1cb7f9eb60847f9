package ledger

// maxMarks is how many directories are marked durably one by one between two checkpoints. More are
// marked all at once, which costs precision after a power cut and no further flush.
const maxMarks = 8

// Directory checks a directory at its first use in a mount. sum is the digest of its present entries;
// inWhole says that the directory above is known with all that is in it. relearned says that it is
// not what is recorded but was about to change when the last mount ended without a word. Otherwise
// the error is a *Violation. One that a change of this mount has left in doubt is learned anew.
func (l *Ledger) Directory(id ID, sum Sum, inWhole bool) (relearned bool, err error) {
	if l == nil {
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d, recorded := l.state.dirs[id]
	now, doubted := l.live[id]
	flux := d.flux || doubted
	switch {
	case doubted && (now.known || now.ops > 0):
		return false, nil
	case !recorded && !doubted && inWhole:
		return false, &Violation{What: "directory", Expected: "one that was made here", Found: "one that is not known"}
	case recorded && !flux && d.sum != sum:
		return false, &Violation{What: "directory", Expected: d.sum.String(), Found: sum.String()}
	}
	same := recorded && d.sum == sum
	v := l.use(id)
	v.sum, v.known = sum, true
	v.whole = same && d.whole && !flux || sum.N == 0
	v.changed = !same || flux
	return recorded && !same && !doubted, nil
}

// use returns what is known of a directory in this mount; mu is held.
func (l *Ledger) use(id ID) *live {
	v := l.live[id]
	if v == nil {
		v = &live{}
		l.live[id] = v
	}
	return v
}

// Known reports whether a directory needs no check any more in this mount.
func (l *Ledger) Known(id ID) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.live[id]
	return v != nil && v.known
}

// Whole reports whether all files and directories in a directory are known.
func (l *Ledger) Whole(id ID) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.live[id]
	return v != nil && v.known && v.whole
}

// Made records a new, empty directory, so that it is known at its first use.
func (l *Ledger) Made(id ID) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.use(id)
	v.known, v.whole, v.changed = true, true, true
	v.gen++
}

// Removed forgets a directory.
func (l *Ledger) Removed(id ID) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.live, id)
	if _, ok := l.state.dirs[id]; ok {
		r := record{kind: recDirGone, id: id}
		l.state.apply(&r)
		l.put(r)
	}
}

// BeginChange announces a change of a directory's entries; EndChange must follow. The first change of a recorded
// directory is marked in the file before it returns, also in a full filesystem. A change without its mark
// could look like an attack later, so the caller gives it up when BeginChange fails.
func (l *Ledger) BeginChange(id ID) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if d, recorded := l.state.dirs[id]; recorded && !d.flux {
		if err := l.mark(id); err != nil {
			return err
		}
	}
	v := l.use(id)
	v.ops++
	v.changed = true
	return nil
}

// mark writes that a directory is in flux; mu is held. Where there is no space for that, all are marked
// in place.
func (l *Ledger) mark(id ID) error {
	durable := !l.state.fluxAll
	l.setFlux(id, true)
	l.put(record{kind: recFlux, id: id})
	if l.marks++; l.marks > maxMarks && durable {
		l.state.fluxAll = true
		l.put(record{kind: recFluxAll})
	}
	if l.write(durable) == nil {
		return nil
	}
	err := l.doubt()
	if err != nil {
		l.setFlux(id, false)
	}
	return err
}

func (l *Ledger) setFlux(id ID, flux bool) {
	d := l.state.dirs[id]
	d.flux = flux
	l.state.dirs[id] = d
}

// EndChange tells what a change has done to the directory's entries, as the sum of what was added less what
// was removed. sure is false when that is not known: then the directory is learned anew at the next
// mount.
func (l *Ledger) EndChange(id ID, delta Sum, sure bool) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.live[id]
	if v == nil {
		return // removed meanwhile
	}
	v.ops--
	v.gen++
	v.sum.merge(delta)
	v.known = v.known && sure
}
