package integration

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// An actor changes one directory of a mount at random and knows, for a crash at any moment, what
// must be there afterwards. It relies on what ext4 and XFS give: names change in the order of the
// calls, and an fsync makes every earlier change of names durable that it has to.
type actor struct {
	root  string // a directory on the mount, the actor's own
	rng   *rand.Rand
	tree  map[string]node
	count int // for fresh names

	// past holds the trees that a crash may bring back: from the last one known durable to the
	// present one. stamps says for each directory and file in how many trees it took part last.
	past    []snapshot
	synced  int // op number that is durable
	ops     int
	touched map[any]int // op number that changed a directory (by id) or a file last
	log     []string
	down    atomic.Bool // set by the test when the power goes: calls may fail from now on
	stop    atomic.Bool // set by the test when the power is gone
	err     error
	early   error // a call failed before the power went
}

// snapshot is the tree after an operation.
type snapshot struct {
	op   int
	tree map[string]node
}

// node is one name of an object.
type node struct {
	file   *fileModel // regular files
	dir    *int       // directories: an identity that survives renames
	target string     // symbolic links
}

// fileModel is the content of a file: what is durable, and every content since.
type fileModel struct {
	content []byte
	synced  bool     // whether it was ever made durable
	since   [][]byte // contents that a crash may bring back, the durable one first
}

func newActor(root string, seed uint64) *actor {
	a := &actor{root: root, rng: rand.New(rand.NewPCG(seed, 7)), tree: map[string]node{"": {dir: new(int)}}, touched: map[any]int{}}
	a.past = []snapshot{{0, maps.Clone(a.tree)}}
	return a
}

// action is one kind of operation; it returns false when the tree has nothing to do it with.
type action func(*actor) (bool, error)

// actions are drawn from with equal weight.
var actions = []action{
	(*actor).create, (*actor).create, (*actor).create, (*actor).createEmpty, (*actor).overwrite, (*actor).overwrite,
	(*actor).appendLog, (*actor).appendLog, (*actor).truncate, (*actor).mkdir, (*actor).mkdir, (*actor).symlink,
	(*actor).link, (*actor).unlink, (*actor).rmdir, (*actor).renameFile, (*actor).renameFile, (*actor).renameDir,
	(*actor).renameDir, (*actor).renameSymlink, (*actor).exchange, (*actor).exchange, (*actor).fsyncDir,
	(*actor).fsyncDir, (*actor).fsyncFile, (*actor).replace,
}

// run acts until an operation fails, which after a power loss most do, or until it is told to stop.
func (a *actor) run() {
	for a.err == nil && !a.stop.Load() {
		for {
			done, err := actions[a.rng.IntN(len(actions))](a)
			if a.err = err; err != nil && !a.down.Load() {
				a.early = err
			}
			if done || err != nil {
				break
			}
		}
	}
}

func (a *actor) path(rel string) string { return filepath.Join(a.root, rel) }

// change notes a change of names before it is made: a crash may show it from now on. The touched
// objects are durable with it.
func (a *actor) change(what string, change func(map[string]node), touched ...any) {
	a.ops++
	next := maps.Clone(a.tree)
	change(next)
	a.tree = next
	a.past = append(a.past, snapshot{a.ops, next})
	for _, t := range touched {
		a.touched[t] = a.ops
	}
	a.log = append(a.log, fmt.Sprintf("%d %s", a.ops, what))
}

// durable notes that operations up to op are durable. A flush that ends when the power is going does
// not count: ext4 and XFS answer 0 for a transaction that the shutdown has thrown away meanwhile.
func (a *actor) durable(op int, m *fileModel) {
	if a.down.Load() {
		return
	}
	if m != nil {
		m.flushed()
	}
	a.synced = max(a.synced, op)
	for len(a.past) > 1 && a.past[1].op <= a.synced {
		a.past = a.past[1:]
	}
	a.log = append(a.log, fmt.Sprintf("- durable up to %d", a.synced))
}

// pick returns a random path whose node satisfies ok, "" and false when there is none.
func (a *actor) pick(ok func(string, node) bool) (string, bool) {
	var all []string
	for p, n := range a.tree {
		if ok(p, n) {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return "", false
	}
	slices.Sort(all)
	return all[a.rng.IntN(len(all))], true
}

func isFile(_ string, n node) bool       { return n.file != nil }
func isSymlink(_ string, n node) bool    { return n.target != "" }
func isAnyDir(_ string, n node) bool     { return n.dir != nil }
func isMovableDir(p string, n node) bool { return n.dir != nil && p != "" }

// fresh returns a new path in a random directory, now and then with a long name.
func (a *actor) fresh(kind string) string {
	dir, _ := a.pick(func(p string, n node) bool { return n.dir != nil && strings.Count(p, "/") < 4 })
	a.count++
	name := fmt.Sprintf("%s%d", kind, a.count)
	if a.rng.IntN(8) == 0 {
		name += strings.Repeat("-long", 48)[:240-len(name)]
	}
	return path.Join(dir, name)
}

func (a *actor) dirOf(p string) *int {
	dir := path.Dir(p)
	if dir == "." {
		dir = ""
	}
	return a.tree[dir].dir
}

// empty reports whether a directory has no entries.
func (a *actor) empty(p string) bool {
	for q := range a.tree {
		if strings.HasPrefix(q, p+"/") {
			return false
		}
	}
	return true
}

// bytes returns random content.
func (a *actor) bytes(most int) []byte {
	b := make([]byte, 1+a.rng.IntN(most))
	for i := range b {
		b[i] = byte(a.rng.Uint32())
	}
	return b
}

// size is usually small: one page, a few, or sometimes enough for a tag page.
func (a *actor) size() int { return []int{300, 3000, 9000, 9000, 30000, 500000}[a.rng.IntN(6)] }

// relocate returns a change that moves what is at and below paths: pairs are from, to. What was at
// and below a to is gone unless it is a from itself.
func relocate(pairs ...string) func(map[string]node) {
	return func(tree map[string]node) {
		before := maps.Clone(tree)
		for _, root := range pairs {
			maps.DeleteFunc(tree, func(p string, _ node) bool { return within(p, root) })
		}
		for i := 0; i < len(pairs); i += 2 {
			for p, n := range before {
				if within(p, pairs[i]) {
					tree[pairs[i+1]+strings.TrimPrefix(p, pairs[i])] = n
				}
			}
		}
	}
}

// within reports whether p is root or below it.
func within(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

// set returns a change of one name.
func set(p string, n node) func(map[string]node) { return func(tree map[string]node) { tree[p] = n } }

func remove(p string) func(map[string]node) { return func(tree map[string]node) { delete(tree, p) } }

// written notes a content that a crash may bring back from now on.
func (f *fileModel) written(content []byte) {
	if f.since == nil {
		f.since = [][]byte{{}}
	}
	f.content = content
	f.since = append(f.since, content)
}

// flushed notes that the present content is durable.
func (f *fileModel) flushed() { f.synced, f.since = true, [][]byte{f.content} }

// fsync opens a path and flushes it.
func fsync(p string) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func renameat2(from, to string, flags uint) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags)
}
