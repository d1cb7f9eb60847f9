package integration

import (
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// store writes content at off of an open file and, with sync, flushes it.
func (a *actor) store(f *os.File, m *fileModel, p string, off int, part []byte, sync bool) error {
	content := append([]byte(nil), m.content...)
	if end := off + len(part); end > len(content) {
		content = append(content, make([]byte, end-len(content))...)
	}
	copy(content[off:], part)
	m.written(content)
	a.note("write %s at %d, %d bytes, sync %v", p, off, len(part), sync)
	if _, err := f.WriteAt(part, int64(off)); err != nil || !sync {
		return err
	}
	return a.flush(f, m)
}

// flush fsyncs a file that was written since the last flush.
func (a *actor) flush(f *os.File, m *fileModel) error {
	if err := f.Sync(); err != nil {
		return err
	}
	a.durable(a.ops, m)
	return nil
}

// withFile opens a random file for use.
func (a *actor) withFile(use func(p string, f *os.File, m *fileModel) error) (bool, error) {
	p, ok := a.pick(isFile)
	if !ok {
		return false, nil
	}
	f, err := os.OpenFile(a.path(p), os.O_RDWR, 0)
	if err != nil {
		return true, err
	}
	defer f.Close()
	return true, use(p, f, a.tree[p].file)
}

func (a *actor) coin() bool { return a.rng.IntN(2) == 0 }

func (a *actor) create() (bool, error) { return true, a.createAt(a.fresh("file"), a.size(), a.coin()) }

func (a *actor) createEmpty() (bool, error) { return true, a.createAt(a.fresh("empty"), 0, false) }

func (a *actor) createAt(p string, size int, sync bool) error {
	m := &fileModel{since: [][]byte{{}}}
	a.change("create "+p, set(p, node{file: m}), a.dirOf(p), m)
	f, err := os.OpenFile(a.path(p), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if size == 0 {
		return nil
	}
	return a.store(f, m, p, 0, a.bytes(size), sync)
}

func (a *actor) overwrite() (bool, error) {
	return a.withFile(func(p string, f *os.File, m *fileModel) error {
		return a.store(f, m, p, a.rng.IntN(len(m.content)+1), a.bytes(12000), a.coin())
	})
}

func (a *actor) appendLog() (bool, error) {
	return a.withFile(func(p string, f *os.File, m *fileModel) error {
		return a.store(f, m, p, len(m.content), a.bytes(3000), a.coin())
	})
}

func (a *actor) truncate() (bool, error) {
	return a.withFile(func(p string, f *os.File, m *fileModel) error {
		size := a.rng.IntN(2*len(m.content) + 2)
		content := make([]byte, size)
		copy(content, m.content)
		m.written(content)
		a.note("truncate %s to %d", p, size)
		if err := f.Truncate(int64(size)); err != nil || a.coin() {
			return err
		}
		return a.flush(f, m)
	})
}

func (a *actor) mkdir() (bool, error) {
	return true, a.mkdirAt(a.fresh("dir"))
}

func (a *actor) mkdirAt(p string) error {
	n := node{dir: new(int)}
	a.change("mkdir "+p, set(p, n), a.dirOf(p), n.dir)
	return os.Mkdir(a.path(p), 0o755)
}

func (a *actor) symlink() (bool, error) {
	p, target := a.fresh("link"), strings.Repeat("target/", 1+a.rng.IntN(30))
	a.change("symlink "+p, set(p, node{target: target}), a.dirOf(p))
	return true, os.Symlink(target, a.path(p))
}

func (a *actor) link() (bool, error) {
	from, ok := a.pick(isFile)
	if !ok {
		return false, nil
	}
	return true, a.linkTo(from, a.fresh("hard"))
}

func (a *actor) linkTo(from, to string) error {
	n := a.tree[from]
	a.change("link "+from+" "+to, set(to, n), a.dirOf(to), n.file)
	return a.maybeSync(os.Link(a.path(from), a.path(to)), to)
}

// removeAt removes a name or an empty directory.
func (a *actor) removeAt(p string) error {
	a.change("remove "+p, remove(p), a.dirOf(p))
	return os.Remove(a.path(p))
}

func (a *actor) unlink() (bool, error) {
	p, ok := a.pick(func(_ string, n node) bool { return n.dir == nil })
	if !ok {
		return false, nil
	}
	return true, a.removeAt(p)
}

func (a *actor) rmdir() (bool, error) {
	p, ok := a.pick(func(p string, n node) bool { return isMovableDir(p, n) && a.empty(p) })
	if !ok {
		return false, nil
	}
	return true, a.removeAt(p)
}

// rename moves what is at from, over what may be at to.
func (a *actor) rename(from, to string) error {
	touched := []any{a.dirOf(from), a.dirOf(to)}
	if m := a.tree[from].file; m != nil {
		touched = append(touched, m)
	}
	a.change("rename "+from+" "+to, relocate(from, to), touched...)
	return a.maybeSync(renameat2(a.path(from), a.path(to), 0), to)
}

// maybeSync fsyncs the directory of p, or the file itself, or neither.
func (a *actor) maybeSync(err error, p string) error {
	if err != nil {
		return err
	}
	switch n := a.tree[p]; a.rng.IntN(3) {
	case 0:
		return a.syncTouched(path.Dir(p), a.dirOf(p))
	case 1:
		if n.file != nil {
			return a.syncTouched(p, n.file)
		}
	}
	return nil
}

// syncTouched fsyncs the object at p: the last change of names that it took part in is durable.
func (a *actor) syncTouched(p string, object any) error {
	op := a.touched[object]
	a.note("fsync %s", p)
	if err := fsync(a.path(p)); err != nil {
		return err
	}
	m, _ := object.(*fileModel)
	a.durable(op, m)
	return nil
}

func (a *actor) renameFile() (bool, error) {
	from, ok := a.pick(isFile)
	if !ok {
		return false, nil
	}
	to := a.fresh("moved")
	if over, ok := a.pick(isFile); ok && a.coin() && a.tree[over].file != a.tree[from].file {
		to = over
	}
	return true, a.rename(from, to)
}

func (a *actor) renameDir() (bool, error) {
	from, ok := a.pick(isMovableDir)
	if !ok {
		return false, nil
	}
	to := a.fresh("moved")
	if over, ok := a.pick(func(p string, n node) bool { return isMovableDir(p, n) && a.empty(p) }); ok && a.coin() {
		to = over
	}
	if within(to, from) || within(from, to) {
		return false, nil
	}
	return true, a.rename(from, to)
}

func (a *actor) renameSymlink() (bool, error) {
	from, ok := a.pick(isSymlink)
	if !ok {
		return false, nil
	}
	return true, a.rename(from, a.fresh("moved"))
}

// exchange swaps two files, two directories, or one of each.
func (a *actor) exchange() (bool, error) {
	movable := func(p string, n node) bool { return n.file != nil || isMovableDir(p, n) }
	x, _ := a.pick(movable)
	y, ok := a.pick(movable)
	if !ok || within(x, y) || within(y, x) || a.tree[x].file != nil && a.tree[x].file == a.tree[y].file {
		return false, nil
	}
	return true, a.swap(x, y)
}

func (a *actor) swap(x, y string) error {
	a.change("exchange "+x+" "+y, relocate(x, y, y, x), a.dirOf(x), a.dirOf(y))
	return a.maybeSync(renameat2(a.path(x), a.path(y), unix.RENAME_EXCHANGE), x)
}

func (a *actor) fsyncDir() (bool, error) {
	p, ok := a.pick(isAnyDir)
	if !ok {
		return false, nil
	}
	return true, a.syncTouched(p, a.tree[p].dir)
}

func (a *actor) fsyncFile() (bool, error) {
	p, ok := a.pick(isFile)
	if !ok {
		return false, nil
	}
	return true, a.syncTouched(p, a.tree[p].file)
}

// replace does what careful programs do: write beside, fsync, rename over.
func (a *actor) replace() (bool, error) {
	over, ok := a.pick(isFile)
	if !ok {
		return false, nil
	}
	p := a.fresh("new")
	if err := a.createAt(p, a.size(), true); err != nil {
		return true, err
	}
	return true, a.rename(p, over)
}

func (a *actor) note(format string, args ...any) {
	a.log = append(a.log, "  "+fmt.Sprintf(format, args...))
}
