package fs

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// treeFixture is a tree that records which directories it dropped.
type treeFixture struct {
	*tree
	dropped []*inode
}

func newTreeFixture() *treeFixture {
	f := &treeFixture{}
	f.tree = newTree(&inode{ino: 1}, 0, func(in *inode) { f.dropped = append(f.dropped, in) })
	return f
}

func (f *treeFixture) put(dir *inode, name string, ino uint64, mode uint32) *inode {
	return f.enter(place{dir: dir, name: name, store: "s" + name}, &unix.Stat_t{Ino: ino, Mode: mode}, envelope.DirID{})
}

func (f *treeFixture) wantPaths(t *testing.T, in *inode, want ...string) {
	t.Helper()
	got, _ := f.paths(in)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("paths: got %q, want %q", got, want)
	}
}

func TestPathsFollowRenamesOfAncestors(t *testing.T) {
	f := newTreeFixture()
	a := f.put(f.root, "a", 2, unix.S_IFDIR)
	b := f.put(a, "b", 3, unix.S_IFDIR)
	file := f.put(b, "f", 4, unix.S_IFREG)
	f.wantPaths(t, file, "/a/b/f")
	f.move(place{dir: f.root, name: "a"}, place{dir: f.root, name: "z", store: "sz"}, false, 7)
	f.wantPaths(t, file, "/z/b/f")
	if _, seq := f.path(b, "new"); seq != 7 {
		t.Errorf("sequence: got %d, want 7: it must change with the names", seq)
	}
}

func TestRenameOverAnotherFileTakesItsName(t *testing.T) {
	f := newTreeFixture()
	x, y := f.put(f.root, "x", 2, unix.S_IFREG), f.put(f.root, "y", 3, unix.S_IFREG)
	f.move(place{dir: f.root, name: "x"}, place{dir: f.root, name: "y", store: "sy"}, false, 0)
	f.wantPaths(t, x, "/y")
	f.wantPaths(t, y)
	if f.child(f.root, "x") != nil {
		t.Error("the old name is still known")
	}
}

func TestExchangeSwapsNames(t *testing.T) {
	f := newTreeFixture()
	x, y := f.put(f.root, "x", 2, unix.S_IFREG), f.put(f.root, "y", 3, unix.S_IFDIR)
	f.move(place{dir: f.root, name: "x", store: "sx"}, place{dir: f.root, name: "y", store: "sy"}, true, 0)
	f.wantPaths(t, x, "/y")
	f.wantPaths(t, y, "/x")
}

func TestHardLinksAreOneInodeWithSeveralPaths(t *testing.T) {
	f := newTreeFixture()
	d := f.put(f.root, "d", 2, unix.S_IFDIR)
	x := f.put(f.root, "x", 3, unix.S_IFREG)
	if f.put(d, "y", 3, unix.S_IFREG) != x {
		t.Fatal("a second name made a second inode")
	}
	f.wantPaths(t, x, "/d/y", "/x")
	f.remove(place{dir: f.root, name: "x"}, nil)
	f.wantPaths(t, x, "/d/y")
}

func TestInodeNumberOfARemovedFileMayBeUsedAgain(t *testing.T) {
	f := newTreeFixture()
	old := f.put(f.root, "old", 2, unix.S_IFREG)
	f.remove(place{dir: f.root, name: "old"}, &ghost{})
	if fresh := f.put(f.root, "new", 2, unix.S_IFREG); fresh == old {
		t.Error("a new file became the removed one")
	}
	if f.get(old.id) != old {
		t.Error("the kernel still refers to the removed file, but it is gone")
	}
}

func TestForgottenInodesAreDroppedWithTheirEmptyAncestors(t *testing.T) {
	f := newTreeFixture()
	a := f.put(f.root, "a", 2, unix.S_IFDIR)
	file := f.put(a, "f", 3, unix.S_IFREG)
	f.forget(a.id, 1)
	f.wantPaths(t, file, "/a/f")
	f.pin(file)
	f.forget(file.id, 1)
	f.wantPaths(t, file, "/a/f")
	f.unpin(file)
	if len(f.byID) != 1 || len(f.byIno) != 1 || len(f.root.children) != 0 {
		t.Errorf("left behind: %d ids, %d numbers, %d children of the root", len(f.byID), len(f.byIno), len(f.root.children))
	}
	if len(f.dropped) != 1 || f.dropped[0] != a {
		t.Errorf("dropped directories: %v", f.dropped)
	}
}

func TestForgetOfMoreThanIsHeldDoesNotUnderflow(t *testing.T) {
	f := newTreeFixture()
	x := f.put(f.root, "x", 2, unix.S_IFREG)
	f.forget(x.id, 100)
	f.forget(x.id, 1)
	if f.get(x.id) != nil {
		t.Error("still known")
	}
}
