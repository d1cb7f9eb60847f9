package envelope

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// modelNode is a file or directory of a plain in-memory tree.
type modelNode struct {
	parent   *modelNode
	name     string
	children map[string]*modelNode // nil for a file
	wrapPath string                // of a file: where its key was last wrapped
	wrapSeq  uint64                // and what the log said then
}

func (n *modelNode) path() string {
	if n.parent == nil {
		return ""
	}
	return n.parent.path() + "/" + n.name
}

// below reports whether n is dir or stands under it.
func (n *modelNode) below(dir *modelNode) bool {
	for ; n != nil; n = n.parent {
		if n == dir {
			return true
		}
	}
	return false
}

// put makes n the entry name of dir, in place of what is there.
func (n *modelNode) put(dir *modelNode, name string) {
	n.parent, n.name = dir, name
	dir.children[name] = n
}

// renameModel is a file system that logs directory renames as a volume does.
type renameModel struct {
	t    *testing.T
	rng  *rand.Rand
	root *modelNode
	vol  *Volume
	log  *logFile
}

// all returns every node of the wanted sort in a fixed order.
func (m *renameModel) all(dirs bool) (out []*modelNode) {
	var walk func(n *modelNode)
	walk = func(n *modelNode) {
		if (n.children != nil) == dirs {
			out = append(out, n)
		}
		names := make([]string, 0, len(n.children))
		for name := range n.children {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			walk(n.children[name])
		}
	}
	walk(m.root)
	return out
}

// pick returns a random node of the sort, nil if there is none; the root only where it may be.
func (m *renameModel) pick(dirs, rootToo bool) *modelNode {
	nodes := m.all(dirs)
	if dirs && !rootToo {
		nodes = nodes[1:]
	}
	if len(nodes) == 0 {
		return nil
	}
	return nodes[m.rng.IntN(len(nodes))]
}

// name returns one of few names, so that paths are used again and again.
func (m *renameModel) name() string { return []string{"a", "b", "ab", "c", "d e", "ä"}[m.rng.IntN(6)] }

func (m *renameModel) wrap(n *modelNode) { n.wrapPath, n.wrapSeq = n.path(), m.log.log.Seq() }

// create makes a file or directory where the name is free.
func (m *renameModel) create(dir bool) {
	parent, name := m.pick(true, true), m.name()
	if parent.children[name] != nil {
		return
	}
	n := &modelNode{}
	if dir {
		n.children = map[string]*modelNode{}
	}
	n.put(parent, name)
	if !dir {
		m.wrap(n)
	}
}

// moveDir renames a directory, also over an empty one.
func (m *renameModel) moveDir(happens bool) {
	n, to, name := m.pick(true, false), m.pick(true, true), m.name()
	if n == nil || to.below(n) {
		return
	}
	if there := to.children[name]; there == n || there != nil && (there.children == nil || len(there.children) > 0 || n.below(there)) {
		return
	}
	e := RenameEntry{Old: n.path(), New: to.path() + "/" + name}
	m.log.append(m.t, e)
	if !happens {
		m.create(false)
		e.Cancel = true
		m.log.append(m.t, e)
		return
	}
	delete(n.parent.children, n.name)
	n.put(to, name)
}

// exchange swaps two directories, or a directory and a file.
func (m *renameModel) exchange(happens bool) {
	a, b := m.pick(true, false), m.pick(m.rng.IntN(3) > 0, false)
	if a == nil || b == nil || a.below(b) || b.below(a) {
		return
	}
	e := RenameEntry{Old: a.path(), New: b.path(), Exchange: b.children != nil}
	if happens && !e.Exchange {
		b.wrapPath, b.wrapSeq = e.Old, m.log.log.Seq() // before the entry, as in a rename of the file alone
	}
	m.log.append(m.t, e)
	if !happens {
		m.create(false)
		e.Cancel = true
		m.log.append(m.t, e)
		return
	}
	aDir, aName, bDir, bName := a.parent, a.name, b.parent, b.name
	a.put(bDir, bName)
	b.put(aDir, aName)
}

// moveFile renames a file, which wraps its key again, also over another file.
func (m *renameModel) moveFile() {
	n, to, name := m.pick(false, false), m.pick(true, true), m.name()
	if n == nil || to.children[name] != nil && to.children[name].children != nil {
		return
	}
	delete(n.parent.children, n.name)
	n.put(to, name)
	m.wrap(n)
}

// remove unlinks a file or an empty directory.
func (m *renameModel) remove(dir bool) {
	if n := m.pick(dir, false); n != nil && len(n.children) == 0 {
		delete(n.parent.children, n.name)
	}
}

// remount reads the log back from its file, with what a crash may leave behind it.
func (m *renameModel) remount() {
	torn := append(slices.Clone(m.log.file), make([]byte, m.rng.IntN(3)*frameAlign)...)
	log, n, err := m.vol.ParseRenameLog(torn)
	if err != nil || n != int64(len(m.log.file)) {
		m.t.Fatalf("%d of %d bytes valid: %v", n, len(m.log.file), err)
	}
	m.log.log = log
}

// sweep wraps some of the oldest keys again and retires what no key needs.
func (m *renameModel) sweep() {
	oldest := m.log.log.Seq()
	for _, n := range m.all(false) {
		if m.rng.IntN(2) == 0 {
			m.wrap(n)
		}
		oldest = min(oldest, n.wrapSeq)
	}
	log, file, err := m.log.log.Retired(oldest)
	wantKind(m.t, err, 0)
	m.log.log, m.log.file = log, file
}

// step does something at random.
func (m *renameModel) step() {
	switch m.rng.IntN(16) {
	case 0, 1, 2:
		m.create(true)
	case 3, 4, 5:
		m.create(false)
	case 6, 7, 8, 9:
		m.moveDir(true)
	case 10:
		m.moveDir(false)
	case 11, 12:
		m.exchange(m.rng.IntN(4) > 0)
	case 13:
		m.moveFile()
	case 14:
		m.remove(m.rng.IntN(2) == 0)
	case 15:
		if n := m.pick(false, false); n != nil && m.rng.IntN(4) == 0 {
			m.wrap(n)
		}
	}
}

// check recomputes the path at wrapping of every file.
func (m *renameModel) check() (files, moved int) {
	for _, n := range m.all(false) {
		files++
		now := n.path()
		if now != n.wrapPath {
			moved++
		}
		if got, ok := m.log.log.PathAt(now, n.wrapSeq, m.log.log.Seq()); got != n.wrapPath || !ok {
			m.t.Fatalf("%s was wrapped at %d as %s, but the log says %s", now, n.wrapSeq, n.wrapPath, got)
		}
	}
	return files, moved
}

func TestPathAtWrappingIsKnownAfterAnyRenames(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	var files, moved int
	for seed := range rounds {
		ok := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			v := volumeWithKey(t, 1)
			m := &renameModel{
				t: t, rng: rand.New(rand.NewPCG(uint64(seed), 1)), vol: v, log: newLogFile(t, v),
				root: &modelNode{children: map[string]*modelNode{}},
			}
			for i := range 150 {
				m.step()
				if i%40 == 39 {
					m.remount()
				}
				if i%70 == 69 {
					m.sweep()
				}
				f, d := m.check()
				files, moved = files+f, moved+d
			}
		})
		if !ok {
			return
		}
	}
	if moved < files/4 || moved == 0 {
		t.Errorf("only %d of %d checks were of files that had moved: the test is too tame", moved, files)
	}
}
