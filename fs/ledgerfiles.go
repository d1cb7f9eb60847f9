package fs

import (
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/ledger"
)

// checkFile compares a file that is being opened with the ledger. in.mu is held.
func (s *fileSystem) checkFile(in *inode, file *envelope.File, slots uint32) error {
	if s.vol.ledger == nil {
		return nil
	}
	seq, _ := file.State()
	if in.file.slotsKnown {
		slots = max(slots, in.file.slots.Version) // staged since the file was looked at
	}
	if err := s.vol.ledger.Opened(file.ID(), seq, slots, s.inWhole(in)); err != nil {
		paths, _ := s.tree.paths(in)
		return s.rolledBack("open", first(paths), err)
	}
	return nil
}

// checkNew refuses what looks like the rest of a crash, a file without content or a directory without
// identity, in a directory of which everything is known: no crash has left it there.
func (s *fileSystem) checkNew(what string, dir *inode, path string) error {
	if !s.vol.ledger.Whole(dir.dirID) {
		return nil
	}
	return s.rolledBack("lookup", path, &ledger.Violation{What: what, Expected: "one that is known", Found: "an empty one"})
}

// noteWritten tells the ledger of a commit; in.mu is held.
func (s *fileSystem) noteWritten(in *inode, of *openFile) {
	if s.vol.ledger == nil {
		return
	}
	if _, named := s.tree.where(in); named {
		seq, _ := of.file.State()
		s.vol.ledger.Written(in.file.id, seq, in.file.slots.Version)
	}
}

// noteDurable tells the ledger of what one file's flush made durable; in.mu is held.
func (s *fileSystem) noteDurable(in *inode, of *openFile) {
	if s.vol.ledger == nil {
		return
	}
	if _, named := s.tree.where(in); named {
		_, durable := of.file.State()
		s.vol.ledger.Durable(in.file.id, durable, 0)
	}
}

// remembered is what the ledger has to forget or to take out of a sum when a name is removed.
type remembered struct {
	file   envelope.FileID // of a regular file with its last name
	dir    envelope.DirID  // of a directory
	target string          // of a symbolic link
}

// remember looks at what is at p before its name is removed. in may be nil.
func (s *fileSystem) remember(in *inode, d *dirHandle, p place, st *unix.Stat_t) (r remembered) {
	if s.vol.ledger == nil {
		return r
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if st.Nlink <= 1 {
			r.file = s.idOf(in, d, p)
		}
	case unix.S_IFDIR:
		if in != nil {
			r.dir = in.dirID
		}
	case unix.S_IFLNK:
		r.target, _ = s.linkTarget(d, p, st.Mode)
	}
	return r
}

// idOf returns a file's id from memory, from its size hint or from its header; zero when it has none.
func (s *fileSystem) idOf(in *inode, d *dirHandle, p place) (id envelope.FileID) {
	if in != nil {
		in.mu.Lock()
		id = in.file.id
		in.mu.Unlock()
		if id != (envelope.FileID{}) {
			return id
		}
	}
	var buf [256]byte
	if n, err := d.GetXattr(p.store, hintAttr, buf[:]); err == nil {
		if h, err := s.vol.crypto.OpenHint(buf[:n]); err == nil {
			return h.FileID
		}
	}
	f, err := d.Open(p.store, true)
	if err != nil {
		return id
	}
	defer f.Close()
	if roots, err := envelope.ReadRoots(f); err == nil {
		id = roots.Newest().FileID
	}
	return id
}

// forget tells the ledger that what was remembered is gone.
func (s *fileSystem) forget(r remembered) {
	if r.file != (envelope.FileID{}) {
		s.vol.ledger.Forgotten(r.file)
	}
	if r.dir != (envelope.DirID{}) {
		s.vol.ledger.Removed(r.dir)
	}
}
