package fs

import (
	"context"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/fs/ledger"
)

// LedgerReport is what a comparison of a whole volume with its ledger found.
type LedgerReport struct {
	Directories int64 `json:"directories"`
	Files       int64 `json:"files"`
	Violations  int64 `json:"violations"`
}

// CompareLedger compares every directory and file with the ledger, without file keys, and calls found
// for each that is older, missing, brought back or cannot be read. What the ledger does not know yet
// it learns if the volume was not opened read-only; with AcceptStore that is everything. The error is
// that of ctx, or of the root directory.
func (o *Offline) CompareLedger(ctx context.Context, found func(path string, err error)) (LedgerReport, error) {
	w := &ledgerWalk{s: o.fs, ctx: ctx, found: found}
	_, err := w.directory(o.fs.tree.root)
	return w.report, err
}

// ledgerWalk is one comparison.
type ledgerWalk struct {
	s      *fileSystem
	ctx    context.Context
	found  func(path string, err error)
	report LedgerReport
}

// directory compares in and what is below it; below one that is not what it was, too. known says that
// the ledger knows in. Only when it knows all that is in it as well may it call in whole: what was not
// looked at, or has no identity yet, would be taken for an intruder later.
func (w *ledgerWalk) directory(in *inode) (known bool, err error) {
	if err := w.ctx.Err(); err != nil {
		return false, err
	}
	d, err := w.s.dir(in)
	if err != nil {
		return false, err
	}
	defer w.s.dirs.release(d)
	w.report.Directories++
	if err := w.s.checkDir(in, d); err != nil {
		w.violation(in, "", err)
	} else {
		known = true
	}
	whole, err := w.entries(in, d)
	if err == nil && whole {
		w.s.vol.ledger.Learned(in.dirID)
	}
	return known, err
}

// entries compares what is in a directory. whole says that the ledger knows all of it.
func (w *ledgerWalk) entries(in *inode, d *dirHandle) (whole bool, err error) {
	entries, err := ownEntries(d.Dir)
	if err != nil {
		return false, err
	}
	whole = true
	for _, e := range entries {
		name, ok, err := w.s.vol.plainName(in.dirID, e.Name, d.Readlink)
		if err != nil || !ok {
			continue
		}
		known, err := w.entry(d, place{dir: in, name: name, store: e.Name})
		if err != nil {
			if w.ctx.Err() != nil {
				return false, err
			}
			w.violation(in, name, err)
		}
		whole = whole && known
	}
	return whole, nil
}

// entry compares what is at p. known says that the ledger knows it, or has no need to.
func (w *ledgerWalk) entry(d *dirHandle, p place) (known bool, err error) {
	var out fuse.EntryOut
	in, err := w.s.enter(d, p, &out)
	if errors.Is(err, syscall.ENOENT) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer w.s.tree.forget(in.id, 1)
	switch in.kind {
	case unix.S_IFDIR:
		return w.directory(in)
	case unix.S_IFREG:
		w.report.Files++
		return w.s.checkHead(in, d, p)
	}
	return true, nil
}

func (w *ledgerWalk) violation(in *inode, name string, err error) {
	path, _ := w.s.tree.path(in, name)
	w.report.Violations++
	w.found(path, err)
}

// checkHead compares a file with the ledger by its header. The volume key authenticates that the
// commit is one of this file. One that was never written is not known.
func (s *fileSystem) checkHead(in *inode, d *dirHandle, p place) (known bool, err error) {
	f, err := d.Open(p.store, true)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head, err := s.vol.readHead(f)
	if neverWritten(err) {
		path, _ := s.tree.path(p.dir, p.name)
		return false, s.checkNew("file", p.dir, path)
	}
	if err != nil {
		return false, err
	}
	h := head.header
	if _, err := s.vol.crypto.OpenStat(h.FileID, h.Sequence, h.StatRecord[:]); err != nil {
		return false, err
	}
	err = s.vol.ledger.Opened(h.FileID, h.Sequence, head.slots.Version, s.inWhole(in))
	return err == nil, err
}

// LedgerSummary tells what the ledger of a volume holds, without a key.
func LedgerSummary(dir, volume string) (ledger.Summary, error) {
	path := LedgerPath(dir, volume)
	s, err := ledger.Summarize(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, &Error{Op: "read ledger", Kind: KindNotVolume, Path: path, Err: errors.New("this volume has no ledger here"),
			hint: "the next mount makes it; with -o noledger there is none"}
	}
	if err != nil {
		return s, newError("read ledger", path, err)
	}
	return s, nil
}

// ForgetLedger removes the ledger of a volume that is not mounted.
func ForgetLedger(dir, volume string) error {
	path := LedgerPath(dir, volume)
	err := ledger.Remove(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &Error{Op: "forget ledger", Kind: KindNotVolume, Path: path, Err: errors.New("this volume has no ledger here"), hint: "nothing needs to be forgotten"}
	case errors.Is(err, ledger.ErrInUse):
		return &Error{Op: "forget ledger", Kind: KindLocked, Path: path, Err: err}
	case err != nil:
		return newError("forget ledger", path, err)
	}
	return nil
}
