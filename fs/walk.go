package fs

import (
	"context"
	"errors"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// ObjectClass says what a name in the store is there for.
type ObjectClass uint8

// The classes of names.
const (
	ObjectUser      ObjectClass = iota // a file, directory, … of the user's
	ObjectOwn                          // bookkeeping: volume file, rename log, identities, whole long names
	ObjectTemporary                    // kmsfs.tmp-*: being made when its mount ended
	ObjectForeign                      // a name that this volume did not make, see Object.Err
)

// Object is one name in the store as Walk finds it. It must not be used after the visit.
type Object struct {
	Class  ObjectClass
	Path   string         // plaintext path from the volume's root; "" when it cannot be told
	Store  string         // path below the backing directory
	Stat   unix.Stat_t    // of the object itself, as the store has it
	Parent envelope.DirID // the directory that holds it
	DirID  envelope.DirID // directories of the user's: their own id
	Err    error          // why its name or identity cannot be told, or the store not read

	name string   // plaintext
	dir  *walkDir // where it is; nil for the root
}

// Kind returns the S_IFMT bits of the object, 0 when it could not be described.
func (o *Object) Kind() uint32 { return o.Stat.Mode & unix.S_IFMT }

// Regular reports whether o is a regular file of the user's at a known path.
func (o *Object) Regular() bool {
	return o.Class == ObjectUser && o.Err == nil && o.Kind() == unix.S_IFREG
}

// storeName is the object's name in its directory of the store.
func (o *Object) storeName() string { return path.Base(o.Store) }

// OpenStore opens the regular file that holds o's ciphertext, for writing too unless readOnly.
func (o *Object) OpenStore(readOnly bool) (*backing.File, error) {
	if o.dir == nil {
		return nil, syscall.EISDIR
	}
	return o.dir.Open(o.storeName(), readOnly)
}

// Visit is called for each object of a walk, by several goroutines at once.
type Visit func(ctx context.Context, o *Object)

// Walk visits every name in the store, the root included, with the given number of goroutines. A
// directory comes in no certain order with what is in it; a file with several names comes once for
// each. What cannot be read or identified is visited with Err set, and what is below it is left out.
// Walk itself fails only when ctx ends.
func (o *Offline) Walk(ctx context.Context, workers int, visit Visit) error {
	return o.fs.vol.walk(ctx, workers, visit)
}

// Count returns the number of names of regular files, for a display of progress.
func (o *Offline) Count(ctx context.Context) int64 {
	var n atomic.Int64
	_ = o.Walk(ctx, 1, func(_ context.Context, obj *Object) { // what fails will fail again
		if obj.Regular() {
			n.Add(1)
		}
	})
	return n.Load()
}

// walkDir is a directory of the store during a walk. It is closed with its last reference.
type walkDir struct {
	*backing.Dir
	id     envelope.DirID
	parent envelope.DirID
	name   string // plaintext
	path   string // of the root: ""
	store  string // of the root: ""
	refs   atomic.Int32
}

func (d *walkDir) release() {
	if d.refs.Add(-1) == 0 {
		d.Close()
	}
}

// walker lists directories one after the other and leaves the objects in them to its workers. At any
// time it holds a directory for each level of the tree and for each object that is being visited.
type walker struct {
	v     *volume
	ctx   context.Context
	jobs  chan *Object
	visit Visit
}

func (v *volume) walk(ctx context.Context, workers int, visit Visit) error {
	w := &walker{v: v, ctx: ctx, jobs: make(chan *Object, 2*max(workers, 1)), visit: visit}
	var group sync.WaitGroup
	for range max(workers, 1) {
		group.Go(w.work)
	}
	w.walkRoot()
	close(w.jobs)
	group.Wait()
	return ctx.Err()
}

// work visits objects until there are no more; once the walk is cancelled it only gives them back.
func (w *walker) work() {
	for o := range w.jobs {
		if w.ctx.Err() == nil {
			w.describe(o)
			w.visit(w.ctx, o)
		}
		if o.dir != nil {
			o.dir.release()
		}
	}
}

// describe asks the store about an object, unless its lister has.
func (w *walker) describe(o *Object) {
	if o.Stat.Ino != 0 || o.dir == nil {
		return
	}
	if err := o.dir.Stat(o.storeName(), &o.Stat); err != nil && o.Err == nil {
		o.Err = err
	}
}

func (w *walker) walkRoot() {
	o := &Object{Path: "/", Store: "."}
	root, err := w.v.root.OpenDir(".")
	if err == nil {
		err = root.Stat("", &o.Stat)
	}
	if err == nil {
		o.DirID, err = w.v.rootID()
	}
	o.Err = err
	w.jobs <- o
	switch {
	case err == nil:
		w.walkDir(&walkDir{Dir: root, id: o.DirID})
	case root != nil:
		root.Close()
	}
}

// walkDir sends what is in d, then walks the directories in it. d is released.
func (w *walker) walkDir(d *walkDir) {
	d.refs.Add(1)
	defer d.release()
	var subs []string
	err := d.AsOwner(func() error {
		return d.Each(func(some []backing.Entry) error {
			for i := range some {
				if w.entry(d, &some[i]) {
					subs = append(subs, some[i].Name)
				}
			}
			return w.ctx.Err()
		})
	})
	if err != nil && w.ctx.Err() == nil {
		o := &Object{Path: slashed(d.path), Store: path.Join(".", d.store), Err: err}
		o.Stat.Mode = unix.S_IFDIR
		w.jobs <- o
	}
	for _, name := range subs {
		if w.ctx.Err() != nil {
			return
		}
		w.enter(d, name)
	}
}

// slashed is a path as it is shown: that of the root is "/".
func slashed(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// entry sends an entry of d, unless it is a directory of the user's: these are walked afterwards.
func (w *walker) entry(d *walkDir, e *backing.Entry) (sub bool) {
	o := w.object(d, e.Name)
	if o.Class != ObjectUser {
		w.send(o)
		return false
	}
	if e.Type == 0 {
		w.describe(o)
		e.Type = o.Kind()
	}
	if e.Type == unix.S_IFDIR {
		return true
	}
	w.send(o)
	return false
}

// send hands an object to the workers.
func (w *walker) send(o *Object) {
	o.dir.refs.Add(1)
	w.jobs <- o
}

// object tells what a name in d stands for.
func (w *walker) object(d *walkDir, store string) *Object {
	o := &Object{Store: path.Join(d.store, store), Parent: d.id, dir: d}
	name, users, err := w.v.plainName(d.id, store, d.Readlink)
	switch {
	case err != nil:
		o.Class, o.Err = ObjectForeign, err
	case users:
		o.name, o.Path = name, d.path+"/"+name
	case strings.HasPrefix(store, tempPrefix):
		o.Class = ObjectTemporary
	case w.v.ownName(store, d.store == ""):
		o.Class = ObjectOwn
	default:
		o.Class, o.Err = ObjectForeign, errReserved
	}
	return o
}

// errReserved: a name begins with kmsfs. but is none that a volume keeps there.
var errReserved = errors.New("a reserved name without a meaning")

// ownName reports whether a volume keeps bookkeeping under a store name, in its root or below.
func (v *volume) ownName(store string, root bool) bool {
	switch store {
	case dirLink, dirLinkNew, dirLinkLog:
		return true
	case volumeName, envelope.MountsFile, envelope.RenameLogFile:
		return root
	}
	return !v.info.PlaintextNames && strings.HasPrefix(store, longPrefix) && strings.HasSuffix(store, longNameSuffix) ||
		strings.HasPrefix(store, movedPrefix) || strings.HasPrefix(store, lostPrefix)
}

// enter sends the directory name of d and walks what is in it.
func (w *walker) enter(d *walkDir, name string) {
	o := w.object(d, name)
	sub, err := d.OpenDir(name)
	if err == nil {
		if o.DirID, err = w.v.readIdentity(sub, d.id, o.name); err != nil {
			sub.Close()
		}
	}
	o.Err = err
	below := &walkDir{Dir: sub, id: o.DirID, parent: d.id, name: o.name, path: o.Path, store: o.Store}
	w.send(o)
	if err == nil {
		w.walkDir(below)
	}
}

// readIdentity reads a directory's identity as lookup does, but changes nothing. An empty directory
// without one, as a crash may leave it, has the one that was kept of it, else the zero id.
func (v *volume) readIdentity(sub *backing.Dir, parent envelope.DirID, name string) (envelope.DirID, error) {
	target, err := ownLink(sub, dirLink)
	if errors.Is(err, syscall.ENOENT) {
		id, _ := v.keptIdentity(sub, parent, name)
		return id, v.noIdentity(sub)
	}
	if err != nil {
		return envelope.DirID{}, err
	}
	id, err := v.crypto.OpenDir(parent, name, target)
	if err == nil {
		return id, nil
	}
	if next, nextErr := ownLink(sub, dirLinkNew); nextErr == nil {
		if id, nextErr := v.crypto.OpenDir(parent, name, next); nextErr == nil {
			return id, nil
		}
	}
	return envelope.DirID{}, err
}

// errNoIdentity: a directory that is not empty has lost its kmsfs.dir.
var errNoIdentity = errors.New("the directory's identity (kmsfs.dir) is missing")

func (v *volume) noIdentity(sub *backing.Dir) error {
	entries, err := ownEntries(sub)
	if err != nil {
		return err
	}
	if _, err := ownNames(entries); err != nil {
		return errNoIdentity
	}
	return nil
}

// Head is the header of a closed regular file with its newest key slots, authenticated under the
// volume key.
type Head struct {
	Header *envelope.Header
	Slots  envelope.SlotTable
	Staged bool // the slots stand in the store's attribute only

	head  *fileHead
	store *backing.File
}

// Head reads the header of a regular file, and opens it for writing too unless readOnly. Close it.
func (o *Offline) Head(obj *Object, readOnly bool) (*Head, error) {
	return o.fs.vol.headOf(obj, readOnly)
}

func (v *volume) headOf(obj *Object, readOnly bool) (*Head, error) {
	f, err := obj.OpenStore(readOnly)
	if err != nil {
		return nil, newError("read header", obj.Path, err)
	}
	h, err := v.readHead(f)
	if err != nil {
		f.Close()
		return nil, newError("read header", obj.Path, err)
	}
	return &Head{Header: h.header, Slots: h.slots, Staged: h.staged, head: h, store: f}, nil
}

// Close closes the store's file.
func (h *Head) Close() error { return h.store.Close() }
