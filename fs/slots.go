package fs

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// maxLinks bounds the names of one file; beyond it link(2) fails with EMLINK.
const maxLinks = 32

// maxSlotsAttr bounds the staged slot table in the store's extended attribute.
const maxSlotsAttr = 4096

// fileHead is what a closed file shows before its key is known.
type fileHead struct {
	roots  *envelope.Roots
	header *envelope.Header
	slots  envelope.SlotTable
	staged bool // slots came from the attribute, which is newer than the header
}

// readHead reads and authenticates, under the volume key, the newest slot table of a file.
func (v *volume) readHead(f *backing.File) (*fileHead, error) {
	roots, err := v.readRoots(f)
	if err != nil {
		return nil, err
	}
	h := &fileHead{roots: roots, header: roots.Newest()}
	if h.header.VolumeID != v.id {
		return nil, rejected("open", "", "the file belongs to "+h.header.VolumeID.String())
	}
	if h.slots, err = v.crypto.OpenSlots(h.header.FileID, h.header.SlotArea); err != nil {
		return nil, rejected("open", "", "key slots: "+err.Error())
	}
	v.stagedSlots(f, h)
	return h, nil
}

// stagedSlots takes the slot table from the attribute when it is newer than the header's. A forged
// one does not authenticate and is ignored.
func (v *volume) stagedSlots(f *backing.File, h *fileHead) {
	var buf [maxSlotsAttr]byte
	n, err := f.GetXattr(slotsAttr, buf[:])
	if err != nil {
		return
	}
	t, err := v.crypto.OpenSlots(h.header.FileID, buf[:n])
	if err != nil {
		v.log.Warn("staged key slots ignored", "file", h.header.FileID.String(), "err", err)
		return
	}
	if t.Version > h.slots.Version {
		h.slots, h.staged = t, true
	}
}

// match finds the slot of a file at one of its current paths. at is the path that the slot was
// wrapped under, which differs from the current one when a directory above was renamed since. A
// slot that a rename is about to drop counts only when no other fits.
// seq is the rename log sequence that paths stand for. Of several that fit, the latest wrapped is it:
// an older one may be of a name that has moved away from this path with its directory.
func (s *fileSystem) match(t *envelope.SlotTable, paths []string, seq uint64) (slot *envelope.Slot, at string) {
	for i := range t.Slots {
		sl := &t.Slots[i]
		if slot != nil && !better(sl, slot) {
			continue
		}
		if was, ok := s.wrappedAt(sl, paths, seq); ok {
			slot, at = sl, was
		}
	}
	return slot, at
}

// better reports whether slot a is to be preferred to b when both fit.
func better(a, b *envelope.Slot) bool {
	if a.Dropping != b.Dropping {
		return b.Dropping
	}
	return a.LogSeq > b.LogSeq
}

// wrappedAt returns the path that a slot was wrapped under, when it belongs to one of paths.
func (s *fileSystem) wrappedAt(sl *envelope.Slot, paths []string, seq uint64) (string, bool) {
	if sl.Kind != envelope.SlotPath {
		return "", false
	}
	for _, p := range paths {
		at, ok := s.renames.pathAt(p, sl.LogSeq, seq)
		if ok && s.vol.crypto.PathTag(at) == sl.Tag {
			return at, true
		}
	}
	return "", false
}

// serves reports whether a slot belongs to one of paths.
func (s *fileSystem) serves(sl *envelope.Slot, paths []string, seq uint64) bool {
	_, ok := s.wrappedAt(sl, paths, seq)
	return ok
}

// stage writes a slot table where the next open finds it: into the extended attribute of name,
// which journaling filesystems order before the rename that follows. Where the store has none,
// the header itself is rewritten, behind a flush.
// in.mu is held and in's slots were loaded.
func (s *fileSystem) stage(in *inode, d *backing.Dir, name string, t envelope.SlotTable) error {
	area, err := s.vol.crypto.SealSlots(in.file.id, t)
	if err != nil {
		return err
	}
	err = d.SetXattr(name, slotsAttr, area, 0)
	switch {
	case err == nil:
		in.file.staged = true
	case noXattrs(err):
		err = s.rewriteHeader(in, d, name, area)
	}
	if err == nil {
		in.file.slots = t
		s.vol.ledger.Written(in.file.id, 0, t.Version)
	}
	return err
}

// noXattrs reports whether the store has no extended attributes, or no room for this one.
func noXattrs(err error) bool {
	return errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSPC) ||
		errors.Is(err, syscall.E2BIG) || errors.Is(err, syscall.ERANGE)
}

// rewriteHeader puts a slot table into the header of a file, after the changes of names that it reflects
// are durable; in.mu is held.
func (s *fileSystem) rewriteHeader(in *inode, d *backing.Dir, name string, area []byte) error {
	if of := in.open.Load(); of != nil {
		if err := of.setSlots(area); err != nil {
			return err
		}
		return of.file.Sync()
	}
	f, err := d.Open(name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	f.WantAll()
	if err := f.Sync(); err != nil {
		return err
	}
	if err := s.rewriteSlots(in, f, area); err != nil {
		return err
	}
	return f.Sync()
}

// rewriteSlots puts a slot area into the header of a closed file, whose newest root is durable; in.mu is held.
func (s *fileSystem) rewriteSlots(in *inode, f *backing.File, area []byte) error {
	roots, err := envelope.ReadRoots(f)
	if err != nil {
		return err
	}
	if !roots.Settled(s.vol.mounts.Unclean) {
		return errUnsettled
	}
	in.file.durable, in.file.fresh = 0, false
	in.file.closes++ // roots that an open has read meanwhile are old
	return envelope.RewriteSlots(f, roots, area)
}

// errUnsettled keeps the slots in the attribute: which root page is the right one is known only
// with the file's key, at its next open.
var errUnsettled = errors.New("the file was last written by a mount that did not end cleanly")

// setSlots gives the next commit another slot area. A commit is not ordered after the changes of names
// that the area reflects, so these are flushed first.
func (of *openFile) setSlots(area []byte) error {
	of.store.WantAll()
	if err := of.store.Sync(); err != nil {
		return err
	}
	return of.file.SetSlotArea(area)
}

// loadSlots makes in.file.slots current for a file that may be closed; in.mu is held.
func (s *fileSystem) loadSlots(in *inode, d *backing.Dir, name string) error {
	if in.file.slotsKnown {
		return nil
	}
	f, err := d.Open(name, true)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := s.vol.readHead(f)
	if err != nil {
		return err
	}
	in.setHead(h)
	return nil
}

// setHead remembers what a header says; in.mu is held.
func (in *inode) setHead(h *fileHead) {
	in.file.id = h.header.FileID
	in.file.slots, in.file.slotsKnown = h.slots, true
	in.file.staged = in.file.staged || h.staged
}

// slotID tells the slots of one file apart. The tag alone does not: after the rename of a directory
// another one may take its path, and a file may have a name below either.
type slotID struct {
	tag [16]byte
	seq uint64
}

func idOf(sl *envelope.Slot) slotID { return slotID{sl.Tag, sl.LogSeq} }

// makeRoom returns in's slots without those that nothing needs any more and without the one that id
// names, which is about to be written anew; in.mu is held. name is one of in's in d.
func (s *fileSystem) makeRoom(in *inode, d *backing.Dir, name string, id slotID) envelope.SlotTable {
	needed := s.needed(in, d, name)
	return keepSlots(in.file.slots, func(sl *envelope.Slot) bool { return idOf(sl) != id && needed(sl) })
}

// needed tells which of in's slots have to stay; in.mu is held. One that is to be dropped stays while
// its name is there, because its rename is still under way, and while in has names that are not
// known: a crash may have left the mark without the rename.
func (s *fileSystem) needed(in *inode, d *backing.Dir, name string) func(*envelope.Slot) bool {
	paths, seq := s.tree.paths(in)
	var st unix.Stat_t
	allKnown := d.Stat(name, &st) == nil && st.Nlink <= uint64(len(paths))
	return func(sl *envelope.Slot) bool { return !sl.Dropping || !allKnown || s.serves(sl, paths, seq) }
}

// keepSlots returns t with only the slots that keep accepts, one version later.
func keepSlots(t envelope.SlotTable, keep func(*envelope.Slot) bool) envelope.SlotTable {
	out := envelope.SlotTable{Version: t.Version + 1}
	for i := range t.Slots {
		if keep(&t.Slots[i]) {
			out.Slots = append(out.Slots, t.Slots[i])
		}
	}
	return out
}

// pathSlots counts the links that t serves.
func pathSlots(t *envelope.SlotTable) int {
	n := 0
	for i := range t.Slots {
		if t.Slots[i].Kind == envelope.SlotPath && !t.Slots[i].Dropping {
			n++
		}
	}
	return n
}
