package fs

import (
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing"
	"github.com/kmsfs/kmsfs/fs/ledger"
)

// checkDir compares a directory with the ledger at its first use in this mount.
func (s *fileSystem) checkDir(in *inode, d *dirHandle) error {
	if s.vol.ledger == nil || in.checked.Load() {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.checked.Load() || s.vol.ledger.Known(in.dirID) {
		in.checked.Store(true)
		return nil
	}
	path, _ := s.tree.path(in, "")
	sum, err := s.sumOf(in, d)
	if err != nil {
		return newError("list", path, err)
	}
	relearned, err := s.vol.ledger.Directory(in.dirID, sum, s.inWhole(in))
	if err != nil {
		return s.rolledBack("lookup", path, err)
	}
	if relearned {
		s.log.Warn("directory learned anew: it was changing when the last mount ended without a word",
			"volume", s.vol.id.String(), "path", path, "found", sum.String())
	}
	in.checked.Store(true)
	return nil
}

// sumOf is the digest of a directory's entries as they are. Names that the volume did not make are
// left out, as in a listing.
func (s *fileSystem) sumOf(in *inode, d *dirHandle) (sum ledger.Sum, err error) {
	err = d.AsOwner(func() error {
		sum = ledger.Sum{}
		return d.Each(func(some []backing.Entry) error {
			for _, e := range some {
				if err := s.addTo(&sum, in, d, e); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return sum, err
}

func (s *fileSystem) addTo(sum *ledger.Sum, in *inode, d *dirHandle, e backing.Entry) error {
	name, ok, err := s.vol.plainName(in.dirID, e.Name, d.Readlink)
	if err != nil || !ok {
		return nil
	}
	if e.Type == 0 {
		var st unix.Stat_t
		if err := d.Stat(e.Name, &st); err != nil {
			return err
		}
		e.Type = st.Mode & unix.S_IFMT
	}
	target, err := s.linkTarget(d, place{dir: in, name: name, store: e.Name}, e.Type)
	if err == nil {
		sum.Add(s.vol.tag(in.dirID, name, e.Type, target))
	}
	return err
}

// linkTarget is the plaintext target of a symbolic link, also while it is being renamed, "" for other
// kinds. One that was not sealed for its place stands for itself.
func (s *fileSystem) linkTarget(d *dirHandle, p place, kind uint32) (string, error) {
	if kind&unix.S_IFMT != unix.S_IFLNK {
		return "", nil
	}
	for _, as := range []string{p.store, movedName(p)} {
		if target, err := s.targetAt(d.Dir, p, as); err == nil {
			return target, nil
		}
	}
	return d.Readlink(p.store)
}

// inWhole reports whether in stands in a directory of which everything is known.
func (s *fileSystem) inWhole(in *inode) bool {
	if s.vol.ledger == nil {
		return false
	}
	p, ok := s.tree.where(in)
	return ok && s.vol.ledger.Whole(p.dir.dirID)
}

// nameNote tells the ledger of a change of a directory's names while it is being made. A nil note
// does nothing.
type nameNote struct {
	s      *fileSystem
	dir    *inode
	delta  ledger.Sum
	unsure bool
}

// noteNames announces a change of names in dir; end must follow.
func (s *fileSystem) noteNames(dir *inode, d *dirHandle) (*nameNote, error) {
	if s.vol.ledger == nil {
		return nil, nil
	}
	if err := s.checkDir(dir, d); err != nil {
		return nil, err
	}
	if err := s.vol.ledger.BeginChange(dir.dirID); err != nil {
		return nil, newError("write ledger", s.vol.ledger.Path(), err)
	}
	return &nameNote{s: s, dir: dir}, nil
}

func (n *nameNote) added(name string, kind uint32, target string) {
	if n != nil {
		n.delta.Add(n.s.vol.tag(n.dir.dirID, name, kind&unix.S_IFMT, target))
	}
}

func (n *nameNote) removed(name string, kind uint32, target string) {
	if n != nil {
		n.delta.Remove(n.s.vol.tag(n.dir.dirID, name, kind&unix.S_IFMT, target))
	}
}

// doubt says that it is not certain what the change has done: it failed half way.
func (n *nameNote) doubt() {
	if n != nil {
		n.unsure = true
	}
}

func (n *nameNote) end() {
	if n != nil {
		n.s.vol.ledger.EndChange(n.dir.dirID, n.delta, !n.unsure)
	}
}
