package fs

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// A file of several names gets a new file of the store one name after the other. A run that is killed in
// between leaves two files with one file id: the new one, whose slots serve all names, and the old one
// with the names that are left. The next run gives these to the new one.

// rekeyTwin is a file that has more slots than names: a half, or one with slots that nothing needs.
type rekeyTwin struct {
	in  *inode // with a reference
	st  unix.Stat_t
	seq uint64 // of its newest commit
	did bool   // it was written by a run that was killed
}

// settleTwins keeps a file that may be a half until the walk is over. It is told apart then: false.
func (r *rekey) settleTwins(in *inode, src *rekeySource, did bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.twins == nil || len(r.runs) == 0 {
		return true
	}
	r.s.tree.pin(in)
	id := src.head.header.FileID
	r.twins[id] = append(r.twins[id], rekeyTwin{in: in, st: src.st, seq: src.head.header.Sequence, did: did})
	return false
}

// relinkAll puts halves together and rekeys the others.
func (r *rekey) relinkAll(ctx context.Context) {
	r.mu.Lock()
	twins := r.twins
	r.twins = nil
	r.mu.Unlock()
	for _, same := range twins {
		r.together(ctx, same)
		for _, t := range same {
			r.s.tree.unpin(t.in)
		}
	}
}

// errDiverged: both halves were used since.
var errDiverged = errors.New("a rekey was killed while it replaced the file, and both halves of its names were used since: they are two files now")

func (r *rekey) together(ctx context.Context, same []rekeyTwin) {
	if len(same) == 2 && same[0].did != same[1].did {
		older, newer := same[0], same[1]
		if older.did {
			older, newer = newer, older
		}
		err := r.relink(older, newer)
		if err != nil && !errors.Is(err, errDiverged) {
			r.halves.Store(true)
		}
		r.done(older.in, err)
		return
	}
	for _, t := range same {
		r.done(t.in, r.inode(ctx, t.in))
	}
}

// relink gives the names of older to newer, if neither was written since the run that made newer.
func (r *rekey) relink(older, newer rekeyTwin) error {
	if older.seq >= newer.seq || older.st.Mtim != newer.st.Mtim {
		return errDiverged
	}
	places, paths, seq := r.s.tree.places(older.in)
	p, d, done, err := r.s.locate(newer.in)
	if err != nil {
		return err
	}
	var slots envelope.SlotTable
	newer.in.mu.Lock()
	if err = r.s.loadSlots(newer.in, d.Dir, p.store); err == nil {
		slots = newer.in.file.slots
	}
	newer.in.mu.Unlock()
	done()
	if err != nil {
		return err
	}
	for i := range paths {
		if slot, _ := r.s.match(&slots, paths[i:i+1], seq); slot == nil {
			return errDiverged
		}
	}
	from, err := r.s.dir(p.dir)
	if err != nil {
		return err
	}
	defer r.s.dirs.release(from)
	r.s.names.Lock()
	defer r.s.names.Unlock()
	for _, to := range places {
		if err := r.s.linkOver(older.in, from, p.store, to); err != nil {
			return err
		}
	}
	r.rekeyed.Add(1)
	return nil
}
