package fs

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// object is what a model knows of a file, directory or symbolic link.
type modelObject struct {
	kind    uint32 // S_IFMT bits
	target  string
	content []byte // files: as reads see it

	// since are the contents that a power loss may bring back, the durable one first; kept is the number
	// of the first of them that a killed daemon may leave.
	since   [][]byte
	kept    int
	synced  bool // the content was durable once
	touched int  // the last operation on names and attributes that it took part in
	handles int
}

// world is the tree after an operation: names and attributes.
type world struct {
	op    int
	names map[string]*modelObject
	attrs map[*modelObject]string
}

func (w *world) clone() *world {
	return &world{w.op, maps.Clone(w.names), maps.Clone(w.attrs)}
}

// wrote notes a content that a crash may bring back from now on.
func (o *modelObject) wrote(content []byte) {
	o.content = content
	o.since = append(o.since, content)
}

// committed notes that a kill loses nothing of the present content.
func (o *modelObject) committed() { o.kept = len(o.since) - 1 }

// flushed notes that the present content is durable.
func (o *modelObject) flushed() { o.since, o.kept, o.synced = [][]byte{o.content}, 0, true }

// sighting is what is seen at one path after a crash.
type sighting struct {
	kind    uint32
	target  string
	content []byte
	attr    string
	node    uint64
}

// survey reads everything. Nothing may fail.
func (k *kernel) survey() (map[string]sighting, error) {
	all := map[string]sighting{}
	defer k.forget()
	if err := k.surveyDir("", 1, all); err != nil {
		return all, err
	}
	for p, f := range all { // only now: reading one name of a file may make it anew under all of them
		id, err := k.walk(p)
		if err != nil {
			return all, at(p, err)
		}
		f.node = k.fs.tree.get(id).ino
		all[p] = f
	}
	return all, nil
}

func (k *kernel) surveyDir(dir string, id uint64, all map[string]sighting) error {
	names, err := k.list(id)
	if err != nil {
		return fmt.Errorf("list %q: %w", dir, err)
	}
	for _, name := range names {
		p := path.Join(dir, name)
		if err := k.retry(func() error { return k.surveyAt(p, all) }); err != nil {
			return err
		}
	}
	return nil
}

func (k *kernel) surveyAt(p string, all map[string]sighting) error {
	id, err := k.walk(p)
	if err != nil {
		return at(p, err)
	}
	f := sighting{kind: k.fs.tree.get(id).kind, node: id}
	switch f.kind {
	case unix.S_IFREG:
		f.content, err = k.readAll(p)
		if err == nil {
			if id, err = k.walk(p); err == nil { // a file that is made anew has a new inode
				f.node = id
				f.attr, err = k.attr(id)
			}
		}
	case unix.S_IFLNK:
		f.target, err = k.readlink(id)
	case unix.S_IFDIR:
		f.attr, err = k.attr(id)
		if err == nil {
			err = k.surveyDir(p, id, all)
		}
	}
	all[p] = f
	return at(p, err)
}

// at adds the path to an error that has none yet; the kernel's own are kept for retry.
func at(p string, err error) error {
	var no syscall.Errno
	if err == nil || err == syscall.ESTALE || !errors.As(err, &no) || strings.Contains(err.Error(), "\"") {
		return err
	}
	return fmt.Errorf("%q: %w", p, err)
}

func (k *kernel) readAll(p string) ([]byte, error) {
	o, err := k.openFile(p)
	if err != nil {
		return nil, err
	}
	size := int(k.fs.tree.get(o.id).open.Load().file.Size())
	b, err := o.read(0, size)
	if err == nil && len(b) != size {
		err = fmt.Errorf("read %d of %d bytes", len(b), size)
	}
	b = bytes.Clone(b)
	return b, errors.Join(err, o.close())
}

// explains returns what of saw does not fit w, "" when all does. power says which contents may be there,
// apart whether names of a file that was never written may have come apart.
func (w *world) explains(saw map[string]sighting, power, apart bool) string {
	for p, o := range w.names {
		f, ok := saw[p]
		if !ok || f.kind != o.kind || f.target != o.target {
			return fmt.Sprintf("%q: found kind %o %.40q", p, f.kind, f.target)
		}
		if f.attr != w.attrs[o] && (o.kind != unix.S_IFREG || o.synced || f.attr != "") {
			return fmt.Sprintf("%q: attribute %q instead of %q", p, f.attr, w.attrs[o])
		}
		if problem := o.explains(f.content, power); problem != "" {
			return fmt.Sprintf("%q: %s", p, problem)
		}
	}
	for p := range saw {
		if w.names[p] == nil {
			return fmt.Sprintf("%q should not be there", p)
		}
	}
	return w.explainsLinks(saw, apart)
}

// explains says what of a content a crash cannot have left.
func (o *modelObject) explains(got []byte, power bool) string {
	if o.kind != unix.S_IFREG {
		return ""
	}
	from := o.kept
	if power {
		from = 0
	}
	if slices.ContainsFunc(o.since[from:], func(c []byte) bool { return bytes.Equal(c, got) }) {
		return ""
	}
	return fmt.Sprintf("%d bytes that are none of %d contents, from %d to %d bytes", len(got), len(o.since)-from, len(o.since[from]), len(o.content))
}

// explainsLinks checks that names of one file lead to one. With apart, those of a file that was never written
// need not.
func (w *world) explainsLinks(saw map[string]sighting, apart bool) string {
	nodes := map[*modelObject]uint64{}
	for p, o := range w.names {
		if n, seen := nodes[o]; seen && n != saw[p].node && (!apart || o.synced || len(saw[p].content) > 0) {
			return fmt.Sprintf("%q is no longer one with its other names", p)
		}
		nodes[o] = saw[p].node
	}
	return ""
}

// adopt makes what was found the model's knowledge.
func (c *crashRun) adopt(w *world, saw map[string]sighting, power bool) {
	if !power {
		w = w.clone()
		w.op = c.ops
		c.now = w
		c.past = append(c.past, w)
		for p, o := range w.names {
			if o.kind == unix.S_IFREG {
				o.wrote(saw[p].content)
				o.committed()
			}
			o.handles = 0
			if w.attrs[o] = saw[p].attr; w.attrs[o] == "" {
				delete(w.attrs, o)
			}
		}
		return
	}
	next := &world{c.ops, map[string]*modelObject{}, map[*modelObject]string{}}
	files := map[uint64]*modelObject{}
	for p, f := range saw {
		o := files[f.node]
		if o == nil {
			o = &modelObject{kind: f.kind, target: f.target, content: f.content, since: [][]byte{f.content},
				synced: len(f.content) > 0} // an empty file may be one that was just made anew
			files[f.node] = o
		}
		next.names[p] = o
		if f.attr != "" {
			next.attrs[o] = f.attr
		}
	}
	next.names[""] = &modelObject{kind: unix.S_IFDIR}
	c.now, c.past, c.synced = next, []*world{next}, c.ops
}
