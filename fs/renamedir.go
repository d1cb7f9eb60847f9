package fs

import (
	"errors"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// stageDir writes a directory's identity for the place that it moves to beside the present one,
// and returns what takes that back.
func (s *fileSystem) stageDir(in *inode, to place) (undo func(), err error) {
	sub, err := s.dir(in)
	if err != nil {
		return nil, err
	}
	defer s.dirs.release(sub)
	entry := logName(to.name, s.renames.log().Seq()+1)
	err = keepTime(sub.Dir, func() error {
		for _, link := range []struct{ as, name string }{{dirLinkLog, entry}, {dirLinkNew, to.name}} {
			if err := sub.Unlink(link.as); err != nil && !errors.Is(err, syscall.ENOENT) {
				return err
			}
			if err := sub.Symlink(s.vol.crypto.SealDir(to.dir.dirID, link.name, in.dirID), link.as); err != nil {
				return err
			}
		}
		return nil
	})
	return func() { s.unstageDir(in) }, err
}

// logName is what takes the place of a name in dirLinkLog: no name has a slash.
func logName(name string, seq uint64) string { return name + "/" + strconv.FormatUint(seq, 10) }

// unstageDir takes stageDir back, unless the rename is in the log and not cancelled there yet;
// renames.mu is held.
func (s *fileSystem) unstageDir(in *inode) {
	if s.renames.owed.Load() != nil {
		return
	}
	sub, err := s.dir(in)
	if err != nil {
		return
	}
	defer s.dirs.release(sub)
	if err := keepTime(sub.Dir, func() error { return sub.Unlink(dirLinkNew) }); err != nil {
		s.log.Warn("identity of a failed directory rename left behind", "err", err)
	}
}

// keepTime runs op, which works on entries of sub that the application does not see, and puts back
// the modification time that op moves.
func keepTime(sub *backing.Dir, op func() error) error {
	var st unix.Stat_t
	if err := sub.Stat("", &st); err != nil {
		return err
	}
	err := sub.AsOwner(op)
	sub.Utimens("", unix.Timespec{Nsec: unix.UTIME_OMIT}, st.Mtim) // only the owner may: else it stays moved
	return err
}

// finishStagedDir makes the new identity the only one. When that fails the next lookup does it.
func (s *fileSystem) finishStagedDir(in *inode) {
	sub, err := s.dir(in)
	if err != nil {
		return
	}
	defer s.dirs.release(sub)
	if err := s.finishDirMove(sub.Dir); err != nil {
		s.log.Warn("directory identity not settled yet", "err", err)
	}
}

// logDirs appends the rename of directories to the rename log; renames.mu is held when there is
// one. The entry is durable before the rename: a rename without its entry would cost the keys
// below. An entry without its rename has to be cancelled, for it says that nothing is left below the
// old path.
func (m *move) logDirs(undo *[]func()) error {
	e, moving := m.entry()
	if !moving {
		return nil
	}
	if m.dst != nil && m.dst.isDir() && !m.exchange() {
		if err := m.s.checkEmpty(m.dst); err != nil {
			return err
		}
	}
	seq, err := m.s.renames.append(m.s.vol.root, e)
	if err != nil {
		return err
	}
	m.seq = seq
	*undo = append(*undo, func() { m.cancel(e) })
	return nil
}

// entry describes the move for the rename log.
func (m *move) entry() (e envelope.RenameEntry, moving bool) {
	e.Old, e.New, _ = m.s.tree.pathPair(m.from, m.to)
	switch {
	case m.src.isDir() && m.exchange() && m.dst.isDir():
		e.Exchange = true
	case m.src.isDir():
	case m.exchange() && m.dst.isDir():
		e.Old, e.New = e.New, e.Old
	default:
		return e, false
	}
	return e, true
}

// cancel logs that the rename did not happen. If that fails it is owed: until then the identity that
// was staged stays, so that after a crash the next mount knows, and nothing uses the entry.
func (m *move) cancel(e envelope.RenameEntry) {
	e.Cancel, e.Seq = true, 0
	if err := m.s.logCancel(e); err != nil {
		m.s.log.Error("rename log not corrected yet", "old", e.Old, "new", e.New, "err", err)
		m.s.renames.owed.Store(&e)
	}
}

// logCancel appends a cancel; renames.mu is held.
func (s *fileSystem) logCancel(e envelope.RenameEntry) error {
	next, err := s.renames.append(s.vol.root, e)
	if err != nil {
		return err
	}
	s.tree.mu.Lock()
	s.tree.seq = next
	s.tree.mu.Unlock()
	return nil
}

// payOwed writes a cancel that could not be written before; renames.mu is held.
func (s *fileSystem) payOwed() error {
	e := s.renames.owed.Load()
	if e == nil {
		return nil
	}
	if err := s.logCancel(*e); err != nil {
		return err
	}
	s.renames.owed.Store(nil)
	s.unstagePath(e.Old)
	if e.Exchange {
		s.unstagePath(e.New)
	}
	return nil
}

// settleOwed is payOwed for the removal of a directory: it would take the staged identity along that tells the
// next mount, after a crash, that a rename in the log did not happen.
func (s *fileSystem) settleOwed() error {
	if s.renames.owed.Load() == nil {
		return nil
	}
	s.renames.mu.Lock()
	defer s.renames.mu.Unlock()
	return s.payOwed()
}

// checkEmpty refuses a directory that holds more than its identity.
func (s *fileSystem) checkEmpty(in *inode) error {
	sub, err := s.dir(in)
	if err != nil {
		return err
	}
	defer s.dirs.release(sub)
	entries, err := ownEntries(sub.Dir)
	if err != nil {
		return err
	}
	_, err = ownNames(entries)
	return err
}

// ownNames lists what of an empty directory's entries has to be removed before it can go: what
// crashes left behind, then its identity. ENOTEMPTY when there is anything else.
func ownNames(entries []backing.Entry) ([]string, error) {
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		there[e.Name] = true
	}
	var names []string
	for _, e := range entries {
		long, companion := strings.CutSuffix(e.Name, longNameSuffix)
		switch {
		case e.Name == dirLink || e.Name == dirLinkNew || e.Name == dirLinkLog:
		case leftover(e.Name):
			names = append(names, e.Name)
		case companion && strings.HasPrefix(long, longPrefix) && !there[long]:
			names = append(names, e.Name)
		default:
			return nil, syscall.ENOTEMPTY
		}
	}
	return append(names, dirLinkLog, dirLinkNew, dirLink), nil
}

// leftover reports whether a name in the store is what a crash has left, of use to nobody but for saving
// parts of it.
func leftover(store string) bool {
	return strings.HasPrefix(store, tempPrefix) || strings.HasPrefix(store, lostPrefix) || strings.HasPrefix(store, movedPrefix)
}

// overDir renames a directory over an empty one, whose identity has to go first: the store takes
// only a truly empty directory for empty.
func (m *move) overDir() error {
	if err := m.s.clearIdentity(m.dst); err != nil {
		return err
	}
	err := m.renameStore()
	if err != nil {
		m.s.restoreIdentity(m.dst, m.to)
	}
	return err
}

// clearIdentity removes the identity of an empty directory.
func (s *fileSystem) clearIdentity(in *inode) error {
	sub, err := s.dir(in)
	if err != nil {
		return err
	}
	defer s.dirs.release(sub)
	entries, err := ownEntries(sub.Dir)
	if err != nil {
		return err
	}
	names, err := ownNames(entries)
	if err != nil {
		return err
	}
	return sub.AsOwner(func() error {
		if err := keepIdentity(in, sub.Dir); err != nil {
			return err
		}
		for _, name := range names {
			if err := sub.Unlink(name); err != nil && !errors.Is(err, syscall.ENOENT) {
				return err
			}
		}
		return nil
	})
}

// keepIdentity copies the identity of a directory that is about to be removed into an attribute: if a crash
// keeps the directory, the user's attributes, which are sealed for that identity, are readable still.
func keepIdentity(in *inode, sub *backing.Dir) error {
	if in.xattrs.Load() == xattrNone {
		return nil
	}
	target, err := sub.Readlink(dirLink)
	if err == nil {
		err = sub.SetXattr("", dirAttr, []byte(target), 0)
	}
	if noXattrs(err) || errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}

// restoreIdentity puts back what clearIdentity removed.
func (s *fileSystem) restoreIdentity(in *inode, p place) {
	sub, err := s.dir(in)
	if err != nil {
		return
	}
	defer s.dirs.release(sub)
	target := s.vol.crypto.SealDir(p.dir.dirID, p.name, in.dirID)
	if err := sub.AsOwner(func() error { return sub.Symlink(target, dirLink) }); err != nil {
		s.log.Error("directory identity not restored", "err", err)
	}
}
