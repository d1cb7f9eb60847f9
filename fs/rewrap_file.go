package fs

import (
	"context"
	"errors"
	"path"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// visit is the Visit of a pass.
func (r *rewrap) visit(ctx context.Context, o *Object) {
	switch {
	case o.Class == ObjectOwn || o.Class == ObjectTemporary:
		return
	case errors.Is(o.Err, syscall.ENOENT) || errors.Is(o.Err, syscall.ESTALE):
		return // removed or renamed since the walk listed it
	case o.Err != nil:
		r.fail(shownPath(o), o.Err)
		return
	case !o.Regular():
		return
	}
	r.progress()
	in, err := r.s.reach(o.Path)
	if err == nil && in.ino != o.Stat.Ino {
		r.s.tree.forget(in.id, 1)
		return // replaced since: what came is wrapped as it has to be, or comes by in the next pass
	}
	if err == nil && !r.links.complete(r.s, in, o) {
		return // the walk comes by under another name
	}
	if err == nil {
		err = r.inode(ctx, in)
		for try := 0; r.grants != nil && try < 50 && envelope.KindOf(err) == envelope.KindTruncated; try++ {
			time.Sleep(10 * time.Millisecond) // it is being made: its name is there, its first page not yet
			err = r.inode(ctx, in)
		}
		r.s.tree.forget(in.id, 1)
	}
	r.done(o.Path, err)
	if r.s.folds.len() > foldLimit {
		if err := r.s.foldAll(); err != nil {
			r.fail(o.Path, err)
		}
	}
}

func shownPath(o *Object) string {
	if o.Path != "" {
		return o.Path
	}
	return o.Store
}

// done records what became of a file.
func (r *rewrap) done(path string, err error) {
	switch {
	case err == nil || vanished(err):
	case hopeless(err):
		r.stop(err)
	default:
		r.fail(path, err)
	}
}

// hopeless reports whether what failed for one file fails for all: the run can be taken up later.
func hopeless(err error) bool {
	switch kindOf(err) {
	case KindKeyDisabled, KindKeyExpired, KindUnavailable, KindInterrupted:
		return true
	case KindKeyMissing:
		return !errors.Is(err, errKeyLeft)
	}
	return false
}

// vanished reports whether a file is not where the walk has seen it.
func vanished(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESTALE) || errors.Is(err, syscall.ENOTDIR)
}

// reach looks up the inode at a plaintext path and counts a reference as the kernel's.
func (s *fileSystem) reach(p string) (*inode, error) {
	var in *inode
	err := s.atParent(p, func(_ *dirHandle, dir *inode) (err error) {
		var out fuse.EntryOut
		in, err = s.lookup(dir, path.Base(p), &out)
		return err
	})
	return in, err
}

// describePath is a path of in, or its file id when it has none.
func (s *fileSystem) describePath(in *inode) string {
	if paths, _ := s.tree.paths(in); len(paths) > 0 {
		return paths[0]
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.file.id.String()
}

var errChanging = errors.New("its key slots changed each time they were about to be replaced; try again")

// maxRewrapTries bounds the attempts at one file: each is made in vain only when another rename or link
// of the same file came in between.
const maxRewrapTries = 100

// inode wraps the slots of one file.
func (r *rewrap) inode(ctx context.Context, in *inode) error {
	for range maxRewrapTries {
		again, err := r.tryInode(ctx, in)
		if !again {
			return err
		}
		runtime.Gosched()
	}
	return errChanging
}

func (r *rewrap) tryInode(ctx context.Context, in *inode) (again bool, err error) {
	p, err := r.plan(in)
	if neverWritten(err) {
		return true, r.s.renew(ctx, in)
	}
	if err != nil {
		return false, err
	}
	if p.settled() {
		return false, p.unknown()
	}
	if err := r.wrap(ctx, p); err != nil {
		return r.overtaken(in, p), err
	}
	again, err = r.put(in, p)
	if again || err != nil {
		return again, err
	}
	r.changed.Add(1)
	r.wrapped.Add(int64(p.made))
	r.dropped.Add(int64(p.gone))
	return false, p.unknown()
}

// overtaken reports whether the slots of in are no longer those of the plan.
func (r *rewrap) overtaken(in *inode, p *rewrapPlan) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.file.slotsKnown && in.file.slots.Version != p.table.Version
}

// plan reads the slots of a file and decides what becomes of each.
func (r *rewrap) plan(in *inode) (*rewrapPlan, error) {
	var p *rewrapPlan
	err := r.s.withSlots(in, func(d *backing.Dir, name string) error {
		var st unix.Stat_t
		if err := d.Stat(name, &st); err != nil {
			return err
		}
		if st.Ino != in.ino {
			return syscall.ESTALE
		}
		paths, seq := r.s.tree.paths(in)
		p = &rewrapPlan{id: in.file.id, table: in.file.slots, paths: paths, seq: seq, allKnown: st.Nlink <= uint64(len(paths))}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.decide(p)
	if i := slices.Index(p.served, false); i >= 0 {
		return nil, r.s.misplaced(in, paths1(p.paths, i))
	}
	return p, nil
}

func paths1(paths []string, i int) []string { return paths[i : i+1] }

// withSlots calls use with the slots of in loaded and in.mu held, at one of its names.
func (s *fileSystem) withSlots(in *inode, use func(d *backing.Dir, name string) error) error {
	p, d, done, err := s.locate(in)
	if err != nil {
		return err
	}
	defer done()
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := s.loadSlots(in, d.Dir, p.store); err != nil {
		return err
	}
	return use(d.Dir, p.store)
}

// put stages the new table, unless the file has got another one since the plan. It is folded into the
// header later.
func (r *rewrap) put(in *inode, p *rewrapPlan) (again bool, err error) {
	err = r.s.withSlots(in, func(d *backing.Dir, name string) error {
		if in.file.slots.Version != p.table.Version || in.file.id != p.id {
			again = true
			return nil
		}
		next := envelope.SlotTable{Version: p.table.Version + 1, Slots: p.next}
		if err := r.s.stage(in, d, name, next); err != nil {
			return err
		}
		r.s.folds.add(in)
		return nil
	})
	return again, err
}
