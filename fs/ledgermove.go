package fs

import "golang.org/x/sys/unix"

// note announces the change of the names in both directories of a rename.
func (m *move) note() (end func(), err error) {
	if m.fromNote, err = m.s.noteNames(m.from.dir, m.fd); err != nil {
		return nil, err
	}
	m.toNote = m.fromNote
	if m.to.dir == m.from.dir {
		return m.fromNote.end, nil
	}
	if m.toNote, err = m.s.noteNames(m.to.dir, m.td); err != nil {
		m.fromNote.end()
		return nil, err
	}
	return func() { m.fromNote.end(); m.toNote.end() }, nil
}

// checkMoving compares the directories that move with the ledger: they have to be known where they
// arrive.
func (m *move) checkMoving() error {
	for _, in := range []*inode{m.src, m.dst} {
		if m.s.vol.ledger == nil || in == nil || !in.isDir() {
			continue
		}
		d, err := m.s.dir(in)
		if err != nil {
			return err
		}
		err = m.s.checkDir(in, d)
		m.s.dirs.release(d)
		if err != nil {
			return err
		}
	}
	return nil
}

// noteMoved tells the ledger of a rename or exchange of anything but symbolic links.
func (m *move) noteMoved() {
	m.fromNote.removed(m.from.name, m.src.kind, "")
	m.noteReplaced()
	m.toNote.added(m.to.name, m.src.kind, "")
	if m.exchange() {
		m.fromNote.added(m.from.name, m.dst.kind, "")
	}
}

// noteReplaced tells the ledger that what was at to is not there any more.
func (m *move) noteReplaced() {
	if m.dst == nil {
		return
	}
	m.toNote.removed(m.to.name, m.dst.kind, m.gone.target)
	if !m.exchange() {
		m.s.forget(m.gone)
	}
}

// noteSymlink tells the ledger of the rename of a symbolic link with the plaintext target.
func (m *move) noteSymlink(target string) {
	m.fromNote.removed(m.from.name, unix.S_IFLNK, target)
	m.noteReplaced()
	m.toNote.added(m.to.name, unix.S_IFLNK, target)
}
