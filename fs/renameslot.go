package fs

import (
	"context"

	"github.com/kmsfs/kmsfs/envelope"
)

// stageSlot wraps a file's key for the path to, beside the present one, and returns what takes that
// back.
func (s *fileSystem) stageSlot(ctx context.Context, in *inode, d *dirHandle, from, to place) (undo func(), err error) {
	slot, old, err := s.wrapFor(ctx, in, d, from, to)
	if err != nil {
		return nil, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := s.loadSlots(in, d.Dir, from.store); err != nil {
		return nil, err // a last close may have dropped them since wrapFor
	}
	t := s.makeRoom(in, d.Dir, from.store, idOf(&slot))
	path, seq := s.tree.path(from.dir, from.name)
	for i := range t.Slots { // that one may have been wrapped anew since wrapFor
		t.Slots[i].Dropping = t.Slots[i].Dropping || idOf(&t.Slots[i]) == old || s.serves(&t.Slots[i], []string{path}, seq)
	}
	t.Slots = append(t.Slots, slot)
	if err := s.stage(in, d.Dir, from.store, t); err != nil {
		return nil, err
	}
	s.folds.add(in)
	return func() { s.unstageSlot(in, d, from, idOf(&slot), old) }, nil
}

// unstageSlot takes stageSlot back.
func (s *fileSystem) unstageSlot(in *inode, d *dirHandle, from place, added, kept slotID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	err := s.loadSlots(in, d.Dir, from.store)
	t := keepSlots(in.file.slots, func(sl *envelope.Slot) bool { return idOf(sl) != added })
	for i := range t.Slots {
		if idOf(&t.Slots[i]) == kept {
			t.Slots[i].Dropping = false
		}
	}
	if err == nil {
		err = s.stage(in, d.Dir, from.store, t)
	}
	if err != nil {
		s.log.Warn("key slot of a failed rename left behind", "file", in.file.id.String(), "err", err)
	}
}

// wrapFor asks the key service to wrap a file's key for another path. old is the slot that serves the
// present one. No lock is held meanwhile.
func (s *fileSystem) wrapFor(ctx context.Context, in *inode, d *dirHandle, from, to place) (slot envelope.Slot, old slotID, err error) {
	in.mu.Lock()
	err = s.loadSlots(in, d.Dir, from.store)
	t := in.file.slots
	in.mu.Unlock()
	if neverWritten(err) && !s.vol.ro {
		if err = s.renew(ctx, in); err == nil {
			return s.wrapFor(ctx, in, d, from, to)
		}
	}
	if err != nil {
		return slot, old, err
	}
	path, newPath, seq := s.tree.pathPair(from, to)
	serving, at := s.match(&t, []string{path}, seq)
	if serving == nil {
		return slot, old, s.misplaced(in, []string{path})
	}
	slot, err = s.vol.rewrap(ctx, serving, at, newPath, seq)
	return slot, idOf(serving), err
}
