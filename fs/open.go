package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// Open implements fuse.RawFileSystem. Every open(2) asks the key service, also of a file whose key
// is held already: this is the authorization check and the audit record. O_TRUNC follows as a
// SETATTR, see atomicTruncate.
func (s *fileSystem) Open(cancel <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	in := s.tree.get(input.NodeId)
	if in == nil {
		return fuse.Status(syscall.ESTALE)
	}
	writer := input.Flags&unix.O_ACCMODE != unix.O_RDONLY
	if err := s.acquire(request(cancel), in, writer); err != nil {
		return status(err)
	}
	out.OpenFlags = s.openFlags()
	return fuse.OK
}

// openFlags keeps the kernel's page cache between opens: this mount is the only writer.
func (s *fileSystem) openFlags() uint32 { return fuse.FOPEN_KEEP_CACHE }

// acquire takes one handle on a file: it is authorized by the key service and its key is held.
func (s *fileSystem) acquire(ctx context.Context, in *inode, writer bool) error {
	if !in.isRegular() {
		return syscall.EINVAL
	}
	for {
		again, err := s.tryAcquire(ctx, in, writer)
		if !again {
			return err
		}
		runtime.Gosched()
	}
}

// tryAcquire is one attempt. again says that others opened, wrote, closed or renamed the file
// meanwhile, so that what was read of it is old. The paths are read first: a slot for an old path
// outlives the rename, one for a new path is there before it.
func (s *fileSystem) tryAcquire(ctx context.Context, in *inode, writer bool) (again bool, err error) {
	before := s.momentOf(in)
	c, err := s.look(in)
	if neverWritten(err) && !s.momentOf(in).differs(before) {
		return s.openNeverWritten(ctx, in)
	}
	if err != nil {
		if s.momentOf(in).differs(before) {
			return true, nil
		}
		return false, s.openFailed(in, err)
	}
	defer func() { c.close() }()
	slot, at := s.match(&c.slots, before.paths, before.seq)
	if slot == nil {
		if s.momentOf(in).differs(before) {
			return true, nil
		}
		return false, s.misplaced(in, before.paths)
	}
	key, err := s.vol.dataKey(ctx, c, slot, at)
	if errors.Is(err, errKeyLeft) && s.momentOf(in).differs(before) {
		return true, nil // wrapped anew since it was looked at
	}
	if err != nil {
		return false, err
	}
	defer key.Wipe()
	again, err = s.hold(in, c, key, writer)
	for wrapped := slot.Wrapped; again; {
		c.close() // a last close came in between: look again, with the key that was asked for
		if c, err = s.look(in); err != nil {
			c = &candidate{}
			return false, s.openFailed(in, err)
		}
		now := s.momentOf(in)
		if slot, _ := s.match(&c.slots, now.paths, now.seq); slot == nil || !bytes.Equal(slot.Wrapped, wrapped) {
			return true, nil
		}
		again, err = s.hold(in, c, key, writer)
	}
	if neverWritten(err) {
		return s.openNeverWritten(ctx, in)
	}
	return false, err
}

// moment is what tells whether a file changed hands while it was looked at.
type moment struct {
	paths   []string
	seq     uint64 // rename log sequence that paths stand for
	closes  uint64
	version uint32 // of the slots in memory, 0 when they are not known
	open    bool
}

func (s *fileSystem) momentOf(in *inode) moment {
	paths, seq := s.tree.slotPaths(in)
	in.mu.Lock()
	defer in.mu.Unlock()
	return moment{paths: paths, seq: seq, closes: in.file.closes, version: in.file.slots.Version, open: in.open.Load() != nil}
}

func (m moment) differs(o moment) bool {
	return m.seq != o.seq || m.closes != o.closes || m.version != o.version || m.open != o.open || !slices.Equal(m.paths, o.paths)
}

// misplaced explains why none of a file's slots fits.
func (s *fileSystem) misplaced(in *inode, paths []string) error {
	if len(paths) == 0 {
		return syscall.ESTALE
	}
	e := rejected("open", paths[0], "no key slot fits this path: the file was moved, copied or renamed outside the mount")
	s.log.Warn("file does not belong here", "volume", s.vol.id.String(), "path", paths[0], "cause", e.Err)
	return e
}

// candidate is what an open has seen of a file before it asks the key service.
type candidate struct {
	id     envelope.FileID
	slots  envelope.SlotTable
	closes uint64
	head   *fileHead     // nil when the file was in use
	store  *backing.File // nil when the file was in use
}

func (c *candidate) close() {
	if c.store != nil {
		c.store.Close()
	}
}

// look reads what is needed to choose a slot.
func (s *fileSystem) look(in *inode) (*candidate, error) {
	in.mu.Lock()
	c := &candidate{closes: in.file.closes}
	if in.open.Load() != nil {
		c.id, c.slots = in.file.id, in.file.slots
		in.mu.Unlock()
		return c, nil
	}
	in.mu.Unlock()
	var err error
	if c.store, err = s.openStore(in, s.vol.ro); err != nil {
		return nil, err
	}
	if c.head, err = s.vol.readHead(c.store); err != nil {
		c.close()
		return nil, err
	}
	c.id, c.slots = c.head.header.FileID, c.head.slots
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.file.slotsKnown && in.file.slots.Version > c.slots.Version {
		c.slots = in.file.slots
	}
	return c, nil
}

// openStore opens the file that keeps in, and makes sure that it is that one.
func (s *fileSystem) openStore(in *inode, readOnly bool) (*backing.File, error) {
	p, d, done, err := s.locate(in)
	if errors.Is(err, syscall.ESTALE) {
		return s.tree.openGhost(in)
	}
	if err != nil {
		return nil, err
	}
	defer done()
	f, err := d.Open(p.store, readOnly)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := f.Stat(&st); err != nil || st.Ino != in.ino {
		f.Close()
		return nil, syscall.ESTALE
	}
	return f, nil
}

// hold takes the handle: it opens the file unless another open did so meanwhile.
func (s *fileSystem) hold(in *inode, c *candidate, key *envelope.DataKey, writer bool) (again bool, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	of := in.open.Load()
	if of == nil {
		if c.store == nil || in.file.closes != c.closes {
			return true, nil
		}
		if of, err = s.openHeld(in, c, key); err != nil {
			return false, err
		}
	}
	if writer && of.store.ReadOnly() {
		if of.handles == 0 {
			s.dropHeld(in, of)
		}
		return false, syscall.EACCES
	}
	of.handles++
	if writer {
		of.writers++
	}
	return false, nil
}

// openHeld opens the file with its key; in.mu is held.
func (s *fileSystem) openHeld(in *inode, c *candidate, key *envelope.DataKey) (*openFile, error) {
	file, err := s.openRoots(c.store, s.fileOptions(c.store, key), c.head.roots, &in.file)
	if neverWritten(err) {
		return nil, err
	}
	if err != nil {
		return nil, s.openFailed(in, err)
	}
	if err := s.checkFile(in, file, c.slots.Version); err != nil {
		file.Wipe()
		return nil, err
	}
	if in.file.sizeKnown && in.file.size != file.Size() {
		defer file.Wipe()
		return nil, s.wrongHint(in, c, file.Size())
	}
	var st unix.Stat_t
	if err := c.store.Stat(&st); err != nil {
		file.Wipe()
		return nil, err
	}
	if !in.file.slotsKnown || c.head.slots.Version > in.file.slots.Version {
		in.setHead(c.head)
	}
	in.file.size, in.file.sizeKnown = file.Size(), true
	of := &openFile{file: file, store: c.store}
	of.mtime.Store(&st.Mtim)
	c.store = nil
	in.since = time.Now()
	in.open.Store(of)
	s.tree.pin(in)
	s.committer.opened(in)
	if in.file.staged && !s.vol.ro && !of.store.ReadOnly() {
		s.folds.add(in)
	}
	return of, nil
}

// openRoots opens a file with its key, as far as what is known of it makes its roots believable. The error
// of one that was never synced before a crash is errNeverWritten.
func (s *fileSystem) openRoots(store *backing.File, o envelope.FileOptions, roots *envelope.Roots, known *fileState) (*envelope.File, error) {
	trust := s.vol.trust(roots, known)
	trust.Unproven = !trust.Settled && roots.Lone() && !s.vol.proven(store, true)
	file, err := envelope.OpenFile(o, roots, trust)
	if trust.Unproven && envelope.KindOf(err) == envelope.KindTruncated {
		return nil, fmt.Errorf("%w: %w", errNeverWritten, err)
	}
	return file, err
}

// openFailed logs what a wrong key or a damaged file means.
func (s *fileSystem) openFailed(in *inode, err error) error {
	if errors.Is(err, syscall.ESTALE) {
		return err // its name is gone: the kernel looks again
	}
	paths, _ := s.tree.paths(in)
	s.log.Warn("file cannot be opened", "volume", s.vol.id.String(), "paths", paths, "cause", err)
	return newError("open", first(paths), err)
}

func first(paths []string) string {
	if len(paths) == 0 {
		return ""
	}
	return paths[0]
}

// wrongHint handles a size that stat took from a hint and that the authenticated file contradicts,
// as after a crash. The kernel does not take a new size for an inode that it knows, so the inode is
// given up: the kernel looks the name up again and finds the right one. in.mu is held.
func (s *fileSystem) wrongHint(in *inode, c *candidate, size int64) error {
	s.log.Warn("size hint was wrong and is replaced", "file", c.head.header.FileID.String())
	hint := s.vol.crypto.SealHint(c.head.header.FileID, c.head.header.Sequence, s.vol.mountID, uint64(size))
	if s.vol.ro || c.store.SetXattr(hintAttr, hint, 0) != nil {
		s.sizes.put(in.ino, size)
	}
	s.tree.giveUp(in)
	return syscall.ESTALE
}

// Release implements fuse.RawFileSystem.
func (s *fileSystem) Release(_ <-chan struct{}, input *fuse.ReleaseIn) {
	if in := s.tree.get(input.NodeId); in != nil {
		s.release(in, input.Flags&unix.O_ACCMODE != unix.O_RDONLY)
	}
}

// release gives a handle back; the last one wipes the key.
func (s *fileSystem) release(in *inode, writer bool) {
	in.mu.Lock()
	of := in.open.Load()
	if of == nil {
		in.mu.Unlock()
		return
	}
	of.handles--
	if writer {
		of.writers--
	}
	if of.handles == 0 {
		s.lastClose(in, of)
	}
	in.mu.Unlock()
}

// reclaimAtClose is how many bytes of dead pages are worth a device flush at the last close.
const reclaimAtClose = 1 << 20

// lastClose commits and wipes. When the store refuses the data, the file stays open, without a
// handle, and the committer tries again: nothing is given up while it has a name. in.mu is held.
func (s *fileSystem) lastClose(in *inode, of *openFile) {
	err := s.commit(in, of)
	if err == nil && of.file.Reclaimable() > max(reclaimAtClose, of.file.Size()) {
		err = s.sync(in, of) // only a flush lets the store have its space back
	}
	if err != nil && !of.nameless() {
		s.log.Error("data not written yet, will retry", "file", in.file.id.String(), "err", err)
		return
	}
	s.dropHeld(in, of)
}

// nameless reports whether the last name of the file is gone from the store: nobody can miss what
// was not written.
func (of *openFile) nameless() bool {
	var st unix.Stat_t
	return of.store.Stat(&st) == nil && st.Nlink == 0
}

// dropHeld wipes the key and closes the store's file; in.mu is held.
func (s *fileSystem) dropHeld(in *inode, of *openFile) {
	in.file.size, in.file.sizeKnown = of.file.Size(), true
	_, in.file.durable = of.file.State()
	in.file.fresh = in.file.fresh && in.file.durable == 0
	in.file.flushFailed = of.file.FlushFailed()
	in.file.closes++
	if !in.file.staged {
		in.file.slotsKnown, in.file.slots = false, envelope.SlotTable{}
	}
	in.open.Store(nil)
	of.users.Lock()
	of.file.Wipe()
	of.store.Close()
	of.users.Unlock()
	s.committer.closed(in)
	s.tree.unpin(in)
}
