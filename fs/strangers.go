package fs

import (
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// A file that is known already and turns up under a further name is either a hard link, whose name
// has a key slot, or was linked or renamed in the store behind the mount's back. The kernel opens by
// inode and does not tell by which name, so all names of one inode must be the file's own. A name
// without slot gets an inode apart: it can be looked at, and its open finds no slot that fits.

// enterInode makes the object at p known and counts one reference of the kernel's.
func (s *fileSystem) enterInode(d *dirHandle, p place, st *unix.Stat_t, id envelope.DirID) *inode {
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return s.tree.enter(p, st, id)
	}
	paths, seq, in := s.tree.elsewhere(p, st.Ino)
	switch {
	case in == nil:
	case !s.owns(in, d, p, paths[1:], seq):
		s.tree.disown(in)
	case !s.owns(in, d, p, paths[:1], seq):
		return s.tree.enterStranger(p, st)
	}
	return s.tree.enter(p, st, id)
}

// owns reports whether each of paths has a key slot of the file in, which also stands at p. A header
// that cannot be read is left to the open.
func (s *fileSystem) owns(in *inode, d *dirHandle, p place, paths []string, seq uint64) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if s.loadSlots(in, d.Dir, p.store) != nil {
		return true
	}
	for i := range paths {
		if slot, _ := s.match(&in.file.slots, paths[i:i+1], seq); slot == nil {
			return false
		}
	}
	return true
}

// elsewhere returns the known inode of number ino, nil unless it has names and p is not among them;
// with it the path of p, then those of its names, and the sequence that they stand for.
func (t *tree) elsewhere(p place, ino uint64) (paths []string, seq uint64, in *inode) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	in = t.byIno[ino]
	if in == nil || len(in.names) == 0 || !in.isRegular() || p.dir.children[p.name] == in {
		return nil, 0, nil
	}
	paths = append(paths, pathOf(p.dir, p.name))
	for _, q := range in.names {
		paths = append(paths, pathOf(q.dir, q.name))
	}
	return paths, t.seq, in
}

// disown takes in's number away, so that the next name does not join it.
func (t *tree) disown(in *inode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byIno[in.ino] == in {
		delete(t.byIno, in.ino)
	}
}

// enterStranger is enter for a name that must not join the inode of its number.
func (t *tree) enterStranger(p place, st *unix.Stat_t) *inode {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := p.dir.children[p.name]
	if in == nil || in.ino != st.Ino {
		known := t.byIno[st.Ino]
		in = t.make(st, envelope.DirID{})
		t.byIno[st.Ino] = known
		t.attach(in, p)
	}
	in.lookups++
	return in
}
