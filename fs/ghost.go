package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing"
)

// newGhost prepares for the removal of the last name at p of what st describes.
func (s *fileSystem) newGhost(d *dirHandle, p place, st *unix.Stat_t) *ghost {
	g := &ghost{stat: *st}
	g.stat.Nlink = 0
	g.path, g.seq = s.tree.path(p.dir, p.name)
	if st.Mode&unix.S_IFMT == unix.S_IFREG && s.tree.child(p.dir, p.name) != nil {
		g.store, _ = d.Open(p.store, s.vol.ro) // without it a late open fails with ESTALE
	}
	return g
}

// close gives up what is left of an object that the kernel has forgotten.
func (g *ghost) close() {
	if g != nil && g.store != nil {
		g.store.Close()
	}
}

// bury records that in has no name any more, when g is not nil: its inode number may be given to
// another object from now on; t.mu is held.
func (t *tree) bury(in *inode, g *ghost) {
	if g == nil {
		return
	}
	in.ghost = g
	if t.byIno[in.ino] == in {
		delete(t.byIno, in.ino)
	}
}

// ghostOf returns what is left of an inode without names, nil when it has one.
func (t *tree) ghostOf(in *inode) *ghost {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return in.ghost
}

// nameless is the error for an inode without a name where one is needed: errNoEntry when its last one was
// removed, else ESTALE, at which the kernel looks its path up again.
func (t *tree) nameless(in *inode) error {
	if t.ghostOf(in) != nil {
		return errNoEntry
	}
	return syscall.ESTALE
}

// openGhost opens the file of an inode without names.
func (t *tree) openGhost(in *inode) (*backing.File, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if in.ghost == nil || in.ghost.store == nil {
		return nil, syscall.ESTALE
	}
	return in.ghost.store.Dup()
}

// statGhost describes an inode without names that is not in use.
func (s *fileSystem) statGhost(in *inode, g *ghost, out *fuse.Attr) error {
	st := g.stat
	if g.store != nil {
		if err := g.store.Stat(&st); err != nil {
			return err
		}
	}
	fillAttr(out, &st)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.file.sizeKnown {
		out.Size = uint64(in.file.size)
	}
	return nil
}

// target is what the kernel's late changes of an inode without names go to: its file, or nothing.
func (g *ghost) target() MetaTarget {
	if g.store != nil {
		return g.store
	}
	return nowhere{}
}

// nowhere is the MetaTarget of an object that is gone.
type nowhere struct{}

func (nowhere) Chown(int, int) error                       { return nil }
func (nowhere) Chmod(uint32) error                         { return nil }
func (nowhere) Utimens(unix.Timespec, unix.Timespec) error { return nil }

// slotPaths returns the paths under which in's key may be wrapped: its present ones, or the last
// one that it had.
func (t *tree) slotPaths(in *inode) ([]string, uint64) {
	if paths, seq := t.paths(in); len(paths) > 0 {
		return paths, seq
	}
	if g := t.ghostOf(in); g != nil {
		return []string{g.path}, g.seq
	}
	return nil, 0
}
