package fs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/envelope"
)

// RewrapOptions says what is to wrap the keys of a volume from now on.
type RewrapOptions struct {
	KeyID    string         // CMK: key id, key ARN, alias or alias ARN; "" keeps the present one and its material
	Recovery RecoveryTarget // recovery recipient; the zero value keeps the present one

	// Progress is called about ten times a second with the number of files looked at, and at the end of
	// each pass. Failed is called for each file that could not be wrapped anew. Both may be nil.
	Progress func(files int64)
	Failed   func(path string, err error)
}

// RewrapResult says what a rewrap has done.
type RewrapResult struct {
	KeyARN   string   `json:"keyArn"`   // wraps every key of the volume, when Finished
	Files    int64    `json:"files"`    // names of files looked at
	Wrapped  int64    `json:"wrapped"`  // slots wrapped anew
	Dropped  int64    `json:"dropped"`  // slots of names that files no longer have
	Failed   int64    `json:"failed"`   // files that could not be done
	Left     []string `json:"left"`     // ARNs of the CMKs that no key of the volume needs any more
	Retired  int      `json:"retired"`  // entries of the rename log that no slot needs any more
	Finished bool     `json:"finished"` // false: run it again; the volume needs the old and the new CMK until then
}

// rewrap is one run. Every slot that is not of the present key list is wrapped anew, as the walk comes
// to its file, so a run that was killed is taken up by the next one where it ended.
type rewrap struct {
	s       *fileSystem
	o       *RewrapOptions
	grants  *grants   // of a mount; nil offline
	recover *recovery // the source of the keys when the old CMK is lost; else nil
	list    *keyList  // as it is to be when done
	base    uint64    // slots with an older rename log sequence are wrapped anew; 0: whatever sequence

	stop context.CancelCauseFunc // ends the pass under way

	files, wrapped, dropped atomic.Int64
	changed                 atomic.Int64 // by the pass under way
	moved                   bool         // a directory was renamed during the last pass
	shown                   atomic.Int64 // unix nanoseconds of the last call of Progress

	links  linkSet
	mu     sync.Mutex       // leaf lock
	failed map[string]error // of the pass under way, by path; guarded by mu
}

// errRewrapping: two runs at once would work against each other.
var errRewrapping = errors.New("another rewrap of this volume is under way")

// rewrapWorkers bounds the calls to the key service that a run has under way.
const rewrapWorkers = 8

// Rewrap wraps the keys of the volume with another CMK, or with the newest material of the same, and
// for another recovery recipient. No data key is shown to this process, but for an RSA recipient and for
// files whose last writer ended uncleanly. It may be run again after any failure. No NewFile may be under
// way: its key would stay as it was wrapped before.
func (o *Offline) Rewrap(ctx context.Context, opts RewrapOptions) (RewrapResult, error) {
	return (&rewrap{s: o.fs, o: &opts, recover: o.fs.vol.recover}).run(ctx)
}

// Rewrap is Offline.Rewrap while the volume is mounted: files are opened, written and renamed meanwhile.
func (s *Server) Rewrap(ctx context.Context, opts RewrapOptions) (RewrapResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.live, cancel)() // the end of the mount ends it
	return (&rewrap{s: s.fs, o: &opts, grants: s.grants}).run(ctx)
}

func (r *rewrap) run(ctx context.Context) (RewrapResult, error) {
	s := r.s
	if s.vol.ro {
		return RewrapResult{}, &Error{Op: "rewrap", Kind: KindReadOnlyBacking, Path: s.vol.info.Backing, Err: errors.New("the volume is mounted read-only"),
			hint: "unmount it, or mount it for writing"}
	}
	if !s.rewrapping.TryLock() {
		return RewrapResult{}, &Error{Op: "rewrap", Kind: KindLocked, Path: s.vol.info.Backing, Err: errRewrapping, hint: "wait until it is done"}
	}
	defer s.rewrapping.Unlock()
	err := r.begin(ctx)
	if err == nil && r.grants == nil {
		err = s.clearTemporaries(ctx)
	}
	if err != nil {
		return RewrapResult{}, newError("rewrap", s.vol.info.Backing, err)
	}
	clean, err := r.passes(ctx)
	if err == nil && clean {
		err = r.settleAll(ctx)
	}
	if err != nil {
		return r.result(nil, 0), newError("rewrap", s.vol.info.Backing, err)
	}
	if len(r.failed) > 0 || !clean {
		return r.result(nil, 0), nil
	}
	left, retired, err := r.finish()
	res := r.result(left, retired)
	res.Finished = err == nil
	return res, err
}

func (r *rewrap) result(left []string, retired int) RewrapResult {
	return RewrapResult{
		KeyARN: r.list.arns[r.list.current], Files: r.files.Load(), Wrapped: r.wrapped.Load(), Dropped: r.dropped.Load(),
		Failed: int64(len(r.failed)), Left: left, Retired: retired,
	}
}

// maxPasses bounds the passes over a volume that is in use.
const maxPasses = 5

// passes walks the volume until every slot is as it has to be. Without a mount once is enough. On one,
// names move while the walk goes on, and a file may be missed: it is walked again until a pass finds
// nothing to do and no directory was renamed meanwhile, in the end by holding these renames back, once. What
// files and links are given during a pass is wrapped as it has to be already.
func (r *rewrap) passes(ctx context.Context) (clean bool, err error) {
	for pass := range maxPasses {
		if clean, err = r.passOnce(ctx, pass); err != nil || clean || r.grants == nil {
			return clean || err == nil && r.grants == nil, err
		}
	}
	return false, nil
}

func (r *rewrap) passOnce(ctx context.Context, pass int) (clean bool, err error) {
	if pass >= maxPasses-2 && r.moved { // so for one pass at most
		r.s.renames.mu.Lock()
		defer r.s.renames.mu.Unlock()
	}
	before := r.s.renames.log().Seq()
	r.changed.Store(0)
	r.files.Store(0)
	r.mu.Lock()
	r.failed = map[string]error{}
	r.mu.Unlock()
	walking, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.stop = stop
	defer r.links.leftovers(r.s, func(*inode) {}) // of a pass that was ended: the mount goes on
	if err := r.s.vol.walk(walking, rewrapWorkers, r.visit); err != nil {
		return false, context.Cause(walking)
	}
	r.links.leftovers(r.s, func(in *inode) { r.done(r.s.describePath(in), r.inode(walking, in)) })
	if walking.Err() != nil {
		return false, context.Cause(walking)
	}
	if r.o.Progress != nil {
		r.o.Progress(r.files.Load())
	}
	r.moved = r.s.renames.log().Seq() != before
	if len(r.failed) > 0 && r.changed.Load() == 0 {
		return true, nil // another pass would find the same; what failed keeps the run from finishing
	}
	return r.changed.Load() == 0 && !r.moved, nil
}

// settleAll makes the new slots durable in the headers, so that neither the store's attributes nor the
// old CMK are needed for any file. What cannot be folded while it is closed is opened.
func (r *rewrap) settleAll(ctx context.Context) error {
	if err := r.s.foldAll(); err != nil {
		return err
	}
	left := r.s.folds.take()
	for in := range left {
		if err := r.s.settleSlots(ctx, in); err != nil {
			r.fail(r.s.describePath(in), err)
		}
	}
	r.s.requeue(left)
	r.s.unpinAll(left)
	if err := r.s.foldAll(); err != nil {
		return err
	}
	return r.s.vol.root.SyncFS()
}

// settleSlots opens a file with its key and writes its newest slots into a root page, durably.
func (s *fileSystem) settleSlots(ctx context.Context, in *inode) error {
	if _, ok := s.tree.where(in); !ok {
		return nil // its slots went with its last name
	}
	if err := s.acquire(ctx, in, true); err != nil {
		return err
	}
	defer s.release(in, true)
	in.mu.Lock()
	defer in.mu.Unlock()
	of := in.open.Load()
	if of == nil {
		return nil
	}
	area, err := s.vol.crypto.SealSlots(in.file.id, in.file.slots)
	if err == nil {
		err = of.setSlots(area)
	}
	if err != nil {
		return err
	}
	return s.sync(in, of)
}

// finish takes the CMKs that are not needed any more out of the volume file, retires their grants, and
// sweeps the rename log.
func (r *rewrap) finish() (left []string, retired int, err error) {
	v := r.s.vol
	r.s.wraps.drain() // renames and links that hold a slot from before
	v.fileMu.Lock()
	before := v.list().inUse()
	if v.list().moving() {
		err = v.replaceVolumeFile(func(vf *envelope.VolumeFile) {
			for i := range vf.Keys {
				if i != vf.WrappedBy {
					vf.Keys[i] = ""
				}
			}
			vf.Keys = vf.Keys[:vf.WrappedBy+1]
		})
	}
	v.fileMu.Unlock()
	if err != nil {
		return nil, 0, newError("rewrap", v.info.Backing, err)
	}
	if r.grants != nil {
		r.grants.retain(v.list().inUse()...)
	}
	if r.base > 0 {
		r.s.renames.mu.Lock()
		defer r.s.renames.mu.Unlock()
		retired, err = r.s.renames.sweep(v.root, r.base)
	}
	return before[1:], retired, err
}

// progress counts one name of a file.
func (r *rewrap) progress() {
	n := r.files.Add(1)
	if r.o.Progress == nil {
		return
	}
	now, last := time.Now().UnixNano(), r.shown.Load()
	if now-last > int64(100*time.Millisecond) && r.shown.CompareAndSwap(last, now) {
		r.o.Progress(n)
	}
}

// fail records a file that could not be done in this pass.
func (r *rewrap) fail(path string, err error) {
	err = fileError("rewrap", path, err)
	r.mu.Lock()
	_, again := r.failed[path]
	r.failed[path] = err
	r.mu.Unlock()
	r.s.log.Warn("keys of a file not wrapped anew", "path", path, "cause", err)
	if r.o.Failed != nil && !again {
		r.o.Failed(path, err)
	}
}
