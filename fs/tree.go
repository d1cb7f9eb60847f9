package fs

import (
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/kmsfs/kmsfs/envelope"
)

// tree is what the mount knows of the volume's names: a part of the directory tree, as far as the
// kernel has asked for it, and the sequence number of the rename log that its paths stand for.
type tree struct {
	mu     sync.RWMutex
	root   *inode
	nextID uint64
	byID   map[uint64]*inode
	byIno  map[uint64]*inode
	seq    uint64 // rename log sequence; changes together with the names it stands for
	drop   func(*inode)
}

// newTree makes a tree with nothing but the root. drop is called, without locks, for each
// directory that is no longer referred to.
func newTree(root *inode, seq uint64, drop func(*inode)) *tree {
	root.id = fuse.FUSE_ROOT_ID
	root.kind = unix.S_IFDIR
	root.lookups = 1
	root.children = make(map[string]*inode)
	return &tree{
		root:   root,
		nextID: fuse.FUSE_ROOT_ID,
		byID:   map[uint64]*inode{root.id: root},
		byIno:  map[uint64]*inode{root.ino: root},
		seq:    seq,
		drop:   drop,
	}
}

// get returns the inode of a FUSE node id, nil when the kernel made it up.
func (t *tree) get(id uint64) *inode {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

// child returns what is known under a name, nil when nothing is.
func (t *tree) child(dir *inode, name string) *inode {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return dir.children[name]
}

// known returns the directory that is known at place p with store inode number ino, nil otherwise.
func (t *tree) known(p place, ino uint64) *inode {
	in := t.child(p.dir, p.name)
	if in == nil || in.ino != ino || !in.isDir() {
		return nil
	}
	return in
}

// enter records that the object st stands at p and counts one reference of the kernel's. dirID is
// for directories.
func (t *tree) enter(p place, st *unix.Stat_t, dirID envelope.DirID) *inode {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := t.byIno[st.Ino]
	if in != nil && (in.kind != st.Mode&unix.S_IFMT || in.isDir() && in.dirID != dirID) {
		t.detach(in) // the number was given to another object behind our back
		in = nil
	}
	if in == nil {
		in = t.make(st, dirID)
	}
	in.lookups++
	t.attach(in, p)
	return in
}

// make adds an inode without names; t.mu is held.
func (t *tree) make(st *unix.Stat_t, dirID envelope.DirID) *inode {
	t.nextID++
	in := &inode{id: t.nextID, ino: st.Ino, kind: st.Mode & unix.S_IFMT, dirID: dirID}
	in.file.hinted = -1
	if in.isDir() {
		in.children = make(map[string]*inode)
	}
	t.byID[in.id] = in
	t.byIno[in.ino] = in
	return in
}

// attach makes p a name of in; t.mu is held. A directory has one name only.
func (t *tree) attach(in *inode, p place) {
	old := p.dir.children[p.name]
	if old == in {
		return
	}
	if old != nil {
		old.removeName(p.dir, p.name)
	}
	if in.isDir() {
		for _, q := range in.names {
			delete(q.dir.children, q.name)
		}
		in.names = nil
	}
	in.names = append(in.names, p)
	p.dir.children[p.name] = in
}

// remove forgets the name at p. g is not nil when it was the object's last name.
func (t *tree) remove(p place, g *ghost) {
	t.mu.Lock()
	in := p.dir.children[p.name]
	if in == nil {
		t.mu.Unlock()
		return
	}
	delete(p.dir.children, p.name)
	in.removeName(p.dir, p.name)
	t.bury(in, g)
	dropped := t.reap(in)
	t.mu.Unlock()
	t.dropAll(dropped)
}

// detach makes in unreachable by name and number, so that the next lookup starts afresh; t.mu is
// held. Node ids that the kernel still holds stay valid.
func (t *tree) detach(in *inode) {
	for _, p := range in.names {
		if p.dir.children[p.name] == in {
			delete(p.dir.children, p.name)
		}
	}
	in.names = nil
	if t.byIno[in.ino] == in {
		delete(t.byIno, in.ino)
	}
}

// giveUp makes in unknown, so that the kernel, told that it is stale, looks its names up again.
func (t *tree) giveUp(in *inode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.detach(in)
}

// forget takes back n references of the kernel's.
func (t *tree) forget(id, n uint64) {
	t.mu.Lock()
	in := t.byID[id]
	if in == nil || in == t.root {
		t.mu.Unlock()
		return
	}
	in.lookups -= min(n, in.lookups)
	dropped := t.reap(in)
	t.mu.Unlock()
	t.dropAll(dropped)
}

// pin and unpin count references that this package holds.
func (t *tree) pin(in *inode) {
	t.mu.Lock()
	in.pins++
	t.mu.Unlock()
}

func (t *tree) unpin(in *inode) {
	t.mu.Lock()
	in.pins--
	dropped := t.reap(in)
	t.mu.Unlock()
	t.dropAll(dropped)
}

// reap removes in and then its ancestors as far as nothing refers to them, and returns what it
// removed; t.mu is held.
func (t *tree) reap(in *inode) []*inode {
	var dropped []*inode
	for todo := []*inode{in}; len(todo) > 0; {
		in, todo = todo[0], todo[1:]
		if in == t.root || in.lookups > 0 || in.pins > 0 || len(in.children) > 0 || t.byID[in.id] != in {
			continue
		}
		for _, p := range in.names {
			todo = append(todo, p.dir)
		}
		t.detach(in)
		delete(t.byID, in.id)
		dropped = append(dropped, in)
	}
	return dropped
}

func (t *tree) dropAll(gone []*inode) {
	for _, in := range gone {
		if in.isDir() {
			t.drop(in)
		}
		in.ghost.close()
	}
}

// where returns a name of in, false when it has none left.
func (t *tree) where(in *inode) (place, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(in.names) == 0 {
		return place{}, false
	}
	return in.names[len(in.names)-1], true
}

// path returns the plaintext path of name in dir and the rename log sequence that it stands for.
func (t *tree) path(dir *inode, name string) (string, uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return pathOf(dir, name), t.seq
}

// paths returns all known paths of in, the latest first, and the sequence they stand for.
func (t *tree) paths(in *inode) ([]string, uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []string
	for i := len(in.names) - 1; i >= 0; i-- {
		out = append(out, pathOf(in.names[i].dir, in.names[i].name))
	}
	return out, t.seq
}

// places returns all known places of in with their paths, and the sequence the paths stand for.
func (t *tree) places(in *inode) (places []place, paths []string, seq uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, p := range in.names {
		places, paths = append(places, p), append(paths, pathOf(p.dir, p.name))
	}
	return places, paths, t.seq
}

// pathOf joins the names from the root down; tree.mu is held.
func pathOf(dir *inode, name string) string {
	parts := []string{name}
	for len(dir.names) > 0 {
		parts = append(parts, dir.names[0].name)
		dir = dir.names[0].dir
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] != "" {
			b.WriteByte('/')
			b.WriteString(parts[i])
		}
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// move renames what is known at from to to, over what is known there; exchange swaps the two. seq is the
// rename log's sequence afterwards, 0 when it did not change.
func (t *tree) move(from, to place, exchange bool, seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq != 0 {
		t.seq = seq
	}
	a, b := from.dir.children[from.name], to.dir.children[to.name]
	for _, x := range []struct {
		in *inode
		p  place
	}{{a, from}, {b, to}} {
		if x.in != nil {
			delete(x.p.dir.children, x.p.name)
			x.in.removeName(x.p.dir, x.p.name)
		}
	}
	if a != nil {
		t.attach(a, to)
	}
	if b != nil && exchange {
		t.attach(b, from)
	}
}

// replaced tells the tree that in lost its last name to a rename.
func (t *tree) replaced(in *inode, g *ghost) {
	t.mu.Lock()
	t.bury(in, g)
	dropped := t.reap(in)
	t.mu.Unlock()
	t.dropAll(dropped)
}

// pathPair returns the paths of two places at one moment, and the sequence they stand for.
func (t *tree) pathPair(a, b place) (pathA, pathB string, seq uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return pathOf(a.dir, a.name), pathOf(b.dir, b.name), t.seq
}

// renumber records that an object was made anew in the store and has another inode number there.
func (t *tree) renumber(in *inode, ino uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byIno[in.ino] == in {
		delete(t.byIno, in.ino)
	}
	in.ino = ino
	t.byIno[ino] = in
}
