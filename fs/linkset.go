package fs

import "sync"

// linkSet gathers the files of several names that a walk comes by, so that each is worked on once, when
// all its names are known to the tree.
type linkSet struct {
	mu   sync.Mutex // leaf lock
	seen map[*inode]map[string]bool
}

// complete counts a name and reports whether in can be worked on now: then one reference of the caller's
// is left, else the set keeps it.
func (l *linkSet) complete(s *fileSystem, in *inode, o *Object) bool {
	if o.Stat.Nlink <= 1 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	names := l.seen[in]
	if names == nil {
		names = map[string]bool{}
	}
	if names[o.Path] { // its directory was renamed in between, and the walk came by again
		s.tree.forget(in.id, 1)
		return false
	}
	names[o.Path] = true
	if uint64(len(names)) < uint64(o.Stat.Nlink) {
		if l.seen == nil {
			l.seen = map[*inode]map[string]bool{}
		}
		l.seen[in] = names
		return false
	}
	delete(l.seen, in)
	s.tree.forget(in.id, uint64(len(names)-1))
	return true
}

// leftovers calls use with the files of which not all names came by, and forgets them.
func (l *linkSet) leftovers(s *fileSystem, use func(in *inode)) {
	l.mu.Lock()
	left := l.seen
	l.seen = nil
	l.mu.Unlock()
	for in, names := range left {
		use(in)
		s.tree.forget(in.id, uint64(len(names)))
	}
}
