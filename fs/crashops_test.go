package fs

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// action is one kind of operation; false means that the tree has nothing to do it with.
type action func(c *crashRun) (bool, error)

var actions = []action{
	(*crashRun).create, (*crashRun).create, (*crashRun).create, (*crashRun).write, (*crashRun).write, (*crashRun).write,
	(*crashRun).append, (*crashRun).truncate, (*crashRun).punch, (*crashRun).fsyncHandle, (*crashRun).fsyncHandle,
	(*crashRun).fsyncFile, (*crashRun).fsyncDir, (*crashRun).fsyncDir, (*crashRun).close, (*crashRun).close, (*crashRun).reopen,
	(*crashRun).mkdir, (*crashRun).mkdir, (*crashRun).symlink, (*crashRun).link, (*crashRun).unlink, (*crashRun).rmdir,
	(*crashRun).renameFile, (*crashRun).renameFile, (*crashRun).renameDir, (*crashRun).renameDir, (*crashRun).renameSymlink,
	(*crashRun).exchange, (*crashRun).replace, (*crashRun).setAttr, (*crashRun).tick, (*crashRun).tick, (*crashRun).shrink,
	(*crashRun).remount,
}

// change notes a change of names before it is made: a crash may show it from now on.
func (c *crashRun) change(what string, change func(w *world), touched ...*modelObject) {
	c.ops++
	next := c.now.clone()
	next.op = c.ops
	change(next)
	c.now = next
	c.past = append(c.past, next)
	for _, o := range touched {
		o.touched = c.ops
	}
	c.note("%d %s", c.ops, what)
}

// durable notes that operations up to op are durable.
func (c *crashRun) durable(op int) {
	c.synced = max(c.synced, op)
	for len(c.past) > 1 && c.past[1].op <= c.synced {
		c.past = c.past[1:]
	}
	c.note("durable up to %d", c.synced)
}

// pick returns a random path whose object satisfies ok, "" and false when there is none.
func (c *crashRun) pick(ok func(p string, o *modelObject) bool) (string, bool) {
	var all []string
	for p, o := range c.now.names {
		if ok(p, o) {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return "", false
	}
	slices.Sort(all)
	return all[c.r.IntN(len(all))], true
}

func aFile(_ string, o *modelObject) bool       { return o.kind == unix.S_IFREG }
func aSymlink(_ string, o *modelObject) bool    { return o.kind == unix.S_IFLNK }
func aDir(_ string, o *modelObject) bool        { return o.kind == unix.S_IFDIR }
func aMovableDir(p string, o *modelObject) bool { return p != "" && o.kind == unix.S_IFDIR }

// fresh returns a new path, now and then with a name that is long in the store.
func (c *crashRun) fresh(kind string) string {
	dir, _ := c.pick(func(p string, o *modelObject) bool { return aDir(p, o) && strings.Count(p, "/") < 3 })
	c.named++
	name := fmt.Sprintf("%s%d", kind, c.named)
	if c.r.IntN(8) == 0 {
		name += strings.Repeat("-long", 48)[:240-len(name)]
	}
	return path.Join(dir, name)
}

func (c *crashRun) dirOf(p string) *modelObject {
	dir := path.Dir(p)
	if dir == "." {
		dir = ""
	}
	return c.now.names[dir]
}

func (c *crashRun) empty(p string) bool {
	for q := range c.now.names {
		if strings.HasPrefix(q, p+"/") {
			return false
		}
	}
	return true
}

// bytes are random enough: a run of each of two bytes.
func (c *crashRun) bytes(most int) []byte {
	n := 1 + c.r.IntN(most)
	k := c.r.IntN(n)
	return append(bytes.Repeat([]byte{byte(1 + c.r.IntN(255))}, k), bytes.Repeat([]byte{byte(1 + c.r.IntN(255))}, n-k)...)
}

func (c *crashRun) create() (bool, error) {
	if len(c.now.names) > 25 {
		return false, nil
	}
	return true, c.createAt(c.fresh("file"), c.r.IntN(4) == 0)
}

func (c *crashRun) createAt(p string, sync bool) error {
	o := &modelObject{kind: unix.S_IFREG, since: [][]byte{{}}}
	c.change("create "+p, func(w *world) { w.names[p] = o }, c.dirOf(p), o)
	f, err := c.k.create(p)
	if err != nil {
		return err
	}
	h := &modelHandle{f, o}
	c.handles = append(c.handles, h)
	o.handles++
	if c.r.IntN(5) > 0 {
		if err := c.writeTo(h, 0, c.bytes([]int{300, 3000, 9000, 30000}[c.r.IntN(4)])); err != nil {
			return err
		}
	}
	if sync {
		if err := c.sync(h, false); err != nil {
			return err
		}
	}
	if c.r.IntN(2) == 0 {
		return c.closeHandle(len(c.handles) - 1)
	}
	return nil
}

// handle returns an open handle, or opens a file.
func (c *crashRun) handle() (*modelHandle, error) {
	if len(c.handles) > 0 && (len(c.handles) > 5 || c.r.IntN(3) > 0) {
		return c.handles[c.r.IntN(len(c.handles))], nil
	}
	p, ok := c.pick(aFile)
	if !ok {
		return nil, nil
	}
	f, err := c.k.openFile(p)
	if err != nil {
		return nil, at(p, err)
	}
	c.note("open %s", p)
	h := &modelHandle{f, c.now.names[p]}
	h.o.handles++
	c.handles = append(c.handles, h)
	return h, nil
}

func (c *crashRun) withHandle(use func(h *modelHandle) error) (bool, error) {
	h, err := c.handle()
	if h == nil || err != nil {
		return err != nil, err
	}
	return true, use(h)
}

func (c *crashRun) writeTo(h *modelHandle, off int, part []byte) error {
	content := slices.Clone(h.o.content)
	if end := off + len(part); end > len(content) {
		content = append(content, make([]byte, end-len(content))...)
	}
	copy(content[off:], part)
	c.note("write %d bytes at %d of %s", len(part), off, c.nameOf(h.o))
	h.o.wrote(content)
	return h.f.write(part, int64(off))
}

func (c *crashRun) write() (bool, error) {
	return c.withHandle(func(h *modelHandle) error {
		return c.writeTo(h, c.r.IntN(len(h.o.content)+1), c.bytes(9000))
	})
}

func (c *crashRun) append() (bool, error) {
	return c.withHandle(func(h *modelHandle) error { return c.writeTo(h, len(h.o.content), c.bytes(5000)) })
}

func (c *crashRun) truncate() (bool, error) {
	return c.withHandle(func(h *modelHandle) error {
		content := make([]byte, c.r.IntN(2*len(h.o.content)+2))
		copy(content, h.o.content)
		c.note("truncate %s to %d", c.nameOf(h.o), len(content))
		h.o.wrote(content)
		return h.f.truncate(int64(len(content)))
	})
}

func (c *crashRun) punch() (bool, error) {
	return c.withHandle(func(h *modelHandle) error {
		if len(h.o.content) == 0 {
			return nil
		}
		content := slices.Clone(h.o.content)
		off := c.r.IntN(len(content))
		n := 1 + c.r.IntN(20000)
		clear(content[off:min(off+n, len(content))])
		c.note("punch %d bytes at %d of %s", n, off, c.nameOf(h.o))
		h.o.wrote(content)
		return h.f.punch(int64(off), int64(n))
	})
}

func (c *crashRun) fsyncHandle() (bool, error) {
	return c.withHandle(func(h *modelHandle) error { return c.sync(h, c.r.IntN(3) == 0) })
}

// sync flushes a file: its content is durable, and unless only data was asked for, every change of names
// up to the last one that it took part in.
func (c *crashRun) sync(h *modelHandle, dataOnly bool) error {
	c.note("fsync %s, data only %v", c.nameOf(h.o), dataOnly)
	before := c.disk.Stats.Flushes
	if err := h.f.fsync(dataOnly); err != nil {
		return err
	}
	if n := c.disk.Stats.Flushes - before; n > 2 {
		return fmt.Errorf("fsync made %d device flushes", n)
	}
	h.o.flushed()
	if !dataOnly {
		c.durable(h.o.touched)
	}
	return nil
}

func (c *crashRun) fsyncFile() (bool, error) {
	p, ok := c.pick(aFile)
	if !ok {
		return false, nil
	}
	f, err := c.k.openFile(p)
	if err != nil {
		return true, at(p, err)
	}
	h := &modelHandle{f, c.now.names[p]}
	if err := c.sync(h, false); err != nil {
		return true, err
	}
	return true, f.close()
}

func (c *crashRun) fsyncDir() (bool, error) {
	p, _ := c.pick(aDir)
	c.note("fsync %s", p)
	if err := c.k.fsyncDir(p); err != nil {
		return true, err
	}
	c.durable(c.now.names[p].touched)
	return true, nil
}

func (c *crashRun) close() (bool, error) {
	if len(c.handles) == 0 {
		return false, nil
	}
	return true, c.closeHandle(c.r.IntN(len(c.handles)))
}

func (c *crashRun) closeHandle(i int) error {
	h := c.handles[i]
	c.handles = slices.Delete(c.handles, i, i+1)
	c.note("close %s", c.nameOf(h.o))
	h.o.handles--
	if err := h.f.close(); err != nil {
		return err
	}
	h.o.committed()
	return nil
}

// reopen checks what a handle reads.
func (c *crashRun) reopen() (bool, error) {
	return c.withHandle(func(h *modelHandle) error {
		got, err := h.f.read(0, len(h.o.content)+10)
		if err == nil && !bytes.Equal(got, h.o.content) {
			err = fmt.Errorf("%s reads other than it was written", c.nameOf(h.o))
		}
		return err
	})
}

func (c *crashRun) mkdir() (bool, error) {
	if len(c.now.names) > 25 {
		return false, nil
	}
	p, o := c.fresh("dir"), &modelObject{kind: unix.S_IFDIR}
	c.change("mkdir "+p, func(w *world) { w.names[p] = o }, c.dirOf(p), o)
	return true, c.k.mkdir(p)
}

func (c *crashRun) symlink() (bool, error) {
	if len(c.now.names) > 25 {
		return false, nil
	}
	p, o := c.fresh("link"), &modelObject{kind: unix.S_IFLNK, target: strings.Repeat("target/", 1+c.r.IntN(30))}
	c.change("symlink "+p, func(w *world) { w.names[p] = o }, c.dirOf(p))
	return true, c.k.symlink(o.target, p)
}

func (c *crashRun) link() (bool, error) {
	from, ok := c.pick(aFile)
	if !ok || len(c.now.names) > 25 {
		return false, nil
	}
	to, o := c.fresh("hard"), c.now.names[from]
	c.change("link "+from+" "+to, func(w *world) { w.names[to] = o }, c.dirOf(to), o)
	return true, c.k.link(from, to)
}

func (c *crashRun) unlink() (bool, error) {
	p, ok := c.pick(func(_ string, o *modelObject) bool { return o.kind != unix.S_IFDIR })
	if !ok {
		return false, nil
	}
	c.change("unlink "+p, func(w *world) { delete(w.names, p) }, c.dirOf(p), c.now.names[p])
	return true, c.k.unlink(p)
}

func (c *crashRun) rmdir() (bool, error) {
	p, ok := c.pick(func(p string, o *modelObject) bool { return aMovableDir(p, o) && c.empty(p) })
	if !ok {
		return false, nil
	}
	c.change("rmdir "+p, func(w *world) { delete(w.names, p) }, c.dirOf(p))
	return true, c.k.rmdir(p)
}

// within reports whether p is root or below it.
func within(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

// relocate moves what is at and below paths: pairs are from, to. What was at and below a to is gone unless
// it is a from itself.
func relocate(pairs ...string) func(w *world) {
	return func(w *world) {
		before := w.clone().names
		for _, root := range pairs {
			for p := range before {
				if within(p, root) {
					delete(w.names, p)
				}
			}
		}
		for i := 0; i < len(pairs); i += 2 {
			for p, o := range before {
				if within(p, pairs[i]) {
					w.names[pairs[i+1]+strings.TrimPrefix(p, pairs[i])] = o
				}
			}
		}
	}
}

func (c *crashRun) rename(from, to string) error {
	touched := []*modelObject{c.dirOf(from), c.dirOf(to)}
	for _, p := range []string{from, to} {
		if o := c.now.names[p]; o != nil && o.kind == unix.S_IFREG {
			touched = append(touched, o)
		}
	}
	c.change("rename "+from+" "+to, relocate(from, to), touched...)
	return c.k.rename(from, to, 0)
}

func (c *crashRun) renameFile() (bool, error) {
	from, ok := c.pick(aFile)
	if !ok {
		return false, nil
	}
	to := c.fresh("moved")
	if over, ok := c.pick(func(_ string, o *modelObject) bool { return o.kind != unix.S_IFDIR }); ok && c.r.IntN(2) == 0 && c.now.names[over] != c.now.names[from] {
		to = over
	}
	return true, c.rename(from, to)
}

func (c *crashRun) renameDir() (bool, error) {
	from, ok := c.pick(aMovableDir)
	if !ok {
		return false, nil
	}
	to := c.fresh("moved")
	if over, ok := c.pick(func(p string, o *modelObject) bool { return aMovableDir(p, o) && c.empty(p) }); ok && c.r.IntN(2) == 0 {
		to = over
	}
	if within(to, from) || within(from, to) {
		return false, nil
	}
	return true, c.rename(from, to)
}

func (c *crashRun) renameSymlink() (bool, error) {
	from, ok := c.pick(aSymlink)
	if !ok {
		return false, nil
	}
	to := c.fresh("moved")
	if over, ok := c.pick(func(_ string, o *modelObject) bool { return o.kind != unix.S_IFDIR }); ok && c.r.IntN(2) == 0 && over != from {
		to = over
	}
	return true, c.rename(from, to)
}

// exchange swaps two files, two directories, or one of each.
func (c *crashRun) exchange() (bool, error) {
	movable := func(p string, o *modelObject) bool { return o.kind == unix.S_IFREG || aMovableDir(p, o) }
	x, _ := c.pick(movable)
	y, ok := c.pick(movable)
	if !ok || within(x, y) || within(y, x) || c.now.names[x] == c.now.names[y] {
		return false, nil
	}
	c.change("exchange "+x+" "+y, relocate(x, y, y, x), c.dirOf(x), c.dirOf(y))
	return true, c.k.rename(x, y, unix.RENAME_EXCHANGE)
}

// replace does what careful programs do: write beside, fsync, rename over.
func (c *crashRun) replace() (bool, error) {
	over, ok := c.pick(aFile)
	if !ok {
		return false, nil
	}
	p := c.fresh("new")
	if err := c.createAt(p, true); err != nil {
		return true, err
	}
	return true, c.rename(p, over)
}

func (c *crashRun) setAttr() (bool, error) {
	p, ok := c.pick(func(p string, o *modelObject) bool { return p != "" && o.kind != unix.S_IFLNK })
	if !ok {
		return false, nil
	}
	value, o := fmt.Sprintf("value %d", c.ops), c.now.names[p]
	c.change("attribute of "+p, func(w *world) { w.attrs[o] = value }, o)
	return true, c.k.setAttr(p, value)
}

// tick is a round of the committer.
func (c *crashRun) tick() (bool, error) {
	c.note("commit")
	c.k.fs.committer.round()
	if !c.disk.Dead() {
		for _, h := range c.handles {
			h.o.committed()
		}
	}
	return true, nil
}

// shrink makes the kernel forget what is not in use.
func (c *crashRun) shrink() (bool, error) {
	c.k.forget()
	return true, nil
}

// remount ends the mount cleanly and makes the next.
func (c *crashRun) remount() (bool, error) {
	if c.r.IntN(4) > 0 {
		return false, nil
	}
	for len(c.handles) > 0 {
		if err := c.closeHandle(0); err != nil {
			return true, err
		}
	}
	c.note("unmount")
	c.k.forget()
	if err := c.k.unmount(); err != nil {
		return true, err
	}
	for _, w := range c.past {
		for _, o := range w.names {
			if o.kind == unix.S_IFREG {
				o.flushed()
			}
		}
	}
	c.durable(c.ops)
	c.note("mount")
	return true, c.mount()
}

func (c *crashRun) nameOf(o *modelObject) string {
	var names []string
	for p, other := range c.now.names {
		if other == o {
			names = append(names, p)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " = ")
}
