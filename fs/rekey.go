package fs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// RekeyOptions says which files get new data keys.
type RekeyOptions struct {
	Paths []string // files, or directories with all that is below; none: the whole volume

	// Progress is called with what was done since, Failed for each file that keeps its key. Both may be
	// nil.
	Progress func(files int, bytes int64)
	Failed   func(path string, err error)
}

// RekeyResult says what a rekey has done.
type RekeyResult struct {
	Files   int64 `json:"files"`   // files looked at
	Rekeyed int64 `json:"rekeyed"` // files with a new data key
	Skipped int64 `json:"skipped"` // files that a run which was killed has done already
	Bytes   int64 `json:"bytes"`   // plaintext that was encrypted anew
	Failed  int64 `json:"failed"`  // files that keep their old key
}

// rekeyWorkers bounds the files that are copied at once.
const rekeyWorkers = 4

// rekey is one run. Every file is copied under a new data key into a new file of the store, with the
// same file id, so that attributes and what is known of its commits stay right, and takes the old
// one's names. What a killed run has done is told by the mount that wrote it.
type rekey struct {
	s    *fileSystem
	o    *RekeyOptions
	runs []uint64 // mounts that were runs for these paths, or for some below them, and did not finish
	stop context.CancelCauseFunc

	files, rekeyed, skipped, bytes, failed atomic.Int64

	halves atomic.Bool // some could not be put together, see relink

	links linkSet
	mu    sync.Mutex                      // leaf lock; guards what is below
	twins map[envelope.FileID][]rekeyTwin // files that may be two halves of one, see relink
}

// Rekey gives files new data keys, by encrypting their content anew. It may be run again after any
// failure, and goes on with the files that are left.
func (o *Offline) Rekey(ctx context.Context, opts RekeyOptions) (RekeyResult, error) {
	r := &rekey{s: o.fs, o: &opts, twins: map[envelope.FileID][]rekeyTwin{}}
	err := r.run(ctx)
	if own := new(Error); err != nil && !errors.As(err, &own) {
		err = newError("rekey", o.fs.vol.info.Backing, err)
	}
	return RekeyResult{Files: r.files.Load(), Rekeyed: r.rekeyed.Load(), Skipped: r.skipped.Load(), Bytes: r.bytes.Load(), Failed: r.failed.Load()}, err
}

func (r *rekey) run(ctx context.Context) error {
	if r.s.vol.ro {
		return syscall.EROFS
	}
	if err := r.checkPaths(); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	walking, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.stop = stop
	if err := r.s.vol.walk(walking, rekeyWorkers, r.visit); err != nil {
		return context.Cause(walking)
	}
	r.links.leftovers(r.s, func(in *inode) { r.done(in, r.inode(walking, in)) })
	r.relinkAll(walking)
	if walking.Err() != nil {
		return context.Cause(walking)
	}
	if err := r.s.vol.root.SyncFS(); err != nil {
		return err
	}
	return r.end()
}

// checkPaths refuses a path that is not there.
func (r *rekey) checkPaths() error {
	for i, p := range r.o.Paths {
		f, err := r.s.find(p, false)
		if err != nil {
			return newError("rekey", p, err)
		}
		r.o.Paths[i] = f.path
		f.release()
	}
	slices.Sort(r.o.Paths)
	return nil
}

// wanted reports whether a path is one of those to rekey, or below one.
func (r *rekey) wanted(path string) bool {
	for _, p := range r.o.Paths {
		if p == "/" || path == p || strings.HasPrefix(path, p+"/") {
			return true
		}
	}
	return len(r.o.Paths) == 0
}

// clearTemporaries removes what crashes have left of files that were being made or replaced: a second
// name of a file would make it one of which not all names can be found. Nothing else uses the volume.
func (s *fileSystem) clearTemporaries(ctx context.Context) error {
	if !s.vol.mounts.AnyUnclean() {
		return nil
	}
	return s.vol.walk(ctx, 1, func(_ context.Context, o *Object) {
		if o.Class != ObjectTemporary || o.Kind() != unix.S_IFREG || isRekeyState(o) {
			return
		}
		if err := o.dir.Unlink(o.storeName()); err != nil {
			s.log.Warn("temporary file of a crash left behind", "store-name", o.Store, "err", err)
		}
	})
}

// done records what became of a file.
func (r *rekey) done(in *inode, err error) { r.doneAt(r.s.describePath(in), err) }

func (r *rekey) doneAt(path string, err error) {
	switch {
	case err == nil:
	case hopeless(err), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		r.stop(err)
	default:
		err = fileError("rekey", path, err)
		r.failed.Add(1)
		r.s.log.Warn("file keeps its old data key", "path", path, "cause", err)
		if r.o.Failed != nil {
			r.o.Failed(path, err)
		}
	}
}

// progress counts what was done.
func (r *rekey) progress(files int, bytes int64) {
	r.bytes.Add(bytes)
	if r.o.Progress != nil {
		r.o.Progress(files, bytes)
	}
}
