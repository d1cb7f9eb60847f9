package fs

import (
	"context"
	"errors"
	"fmt"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// fileCheck is the check of one regular file.
type fileCheck struct {
	*checker
	ctx   context.Context
	o     *Object
	store *backing.File
	roots *envelope.Roots
	slots envelope.SlotTable
	size  int64 // as the stat record says, -1 when it does not
}

// checkFile authenticates a file's header, key slots, sizes and attributes, and with its key, all of
// its content. What needs the content is done for one of several hard links only.
func (c *checker) checkFile(ctx context.Context, o *Object) {
	f := &fileCheck{checker: c, ctx: ctx, o: o, size: -1}
	var err error
	if f.store, err = o.OpenStore(true); err != nil {
		f.fault(FaultUnreadable, err)
		return
	}
	defer f.store.Close()
	if !f.head() {
		return
	}
	first := c.firstVisit(o)
	if first {
		defer c.counted()
		f.statRecord()
		c.checkXattrs(o, f.roots.Newest().FileID)
	}
	key := f.key()
	if key == nil {
		return
	}
	defer key.Wipe()
	if first {
		f.content(key)
	}
}

// firstVisit reports whether a file is visited under its first name.
func (c *checker) firstVisit(o *Object) bool {
	if o.Stat.Nlink < 2 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	again := c.seen[o.Stat.Ino]
	c.seen[o.Stat.Ino] = true
	return !again
}

// counted notes a file that was checked, as far as that was possible.
func (c *checker) counted() {
	c.mu.Lock()
	c.result.Files++
	c.mu.Unlock()
	c.Progress(1, 0)
}

// authentic notes content that was authenticated.
func (c *checker) authentic(bytes int64) {
	c.mu.Lock()
	c.result.Bytes += bytes
	c.mu.Unlock()
}

// metered is the store of a file whose check tells how far it has come. It is for one goroutine.
type metered struct {
	*backing.File
	read     int64 // since the last report
	progress func(files int, bytes int64)
}

// ReadAt implements envelope.Store.
func (m *metered) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.File.ReadAt(p, off)
	if m.read += int64(n); m.read >= scanBytes {
		m.progress(0, m.read)
		m.read = 0
	}
	return n, err
}

func (f *fileCheck) fault(code FaultCode, cause error) { f.report(fault(code, f.o, cause)) }

// head reads the header and the newest key slots.
func (f *fileCheck) head() bool {
	var err error
	v := f.s.vol
	if f.roots, err = v.readRoots(f.store); err != nil {
		if !neverWritten(err) { // after a crash the file reads as empty
			f.fault(headerFault(err), err)
		}
		return false
	}
	h := f.roots.Newest()
	if h.VolumeID != v.id {
		f.fault(FaultForeignFile, fmt.Errorf("of %s", h.VolumeID))
		return false
	}
	head := &fileHead{roots: f.roots, header: h}
	if head.slots, err = v.crypto.OpenSlots(h.FileID, h.SlotArea); err != nil {
		f.fault(FaultSlots, err)
		if other := f.roots.Other(); other == nil || other.FileID != h.FileID {
			return false
		} else if head.slots, err = v.crypto.OpenSlots(h.FileID, other.SlotArea); err != nil {
			return false
		}
	}
	v.stagedSlots(f.store, head)
	f.slots = head.slots
	return true
}

// statRecord checks the sizes that need no key.
func (f *fileCheck) statRecord() {
	h := f.roots.Newest()
	size, err := f.s.vol.crypto.OpenStat(h.FileID, h.Sequence, h.StatRecord[:])
	if err != nil {
		f.fault(FaultStatRecord, err)
		return
	}
	f.size = int64(size)
}

// key finds the slot of the file's path and has the key service unwrap it.
func (f *fileCheck) key() *envelope.DataKey {
	slot, at := f.s.match(&f.slots, []string{f.o.Path}, f.s.tree.seq)
	switch {
	case slot != nil:
	case f.logErr != nil:
		f.fault(FaultLogUnknown, nil)
		return nil
	case f.younger():
		f.fault(FaultLogShort, nil)
		return nil
	default:
		f.fault(FaultMisplaced, nil)
		return nil
	}
	if f.silent.Load() >= maxUnanswered {
		f.fault(FaultKeyService, nil)
		return nil
	}
	key, err := f.s.vol.unwrap(f.ctx, slot, at)
	switch {
	case err == nil:
		return key
	case kindOf(err) == KindInterrupted:
		return nil // the check ends, which says nothing of the file
	case kindOf(err) == KindUnavailable:
		f.silent.Add(1)
	}
	f.fault(keyFault(err), errors.Unwrap(err))
	return nil
}

// maxUnanswered is after how many calls without an answer the key service is not asked again: each
// takes keyTimeout.
const maxUnanswered = 3

// younger reports whether any slot is younger than the rename log.
func (f *fileCheck) younger() bool {
	for i := range f.slots.Slots {
		if f.slots.Slots[i].LogSeq > f.s.renames.log().Seq() {
			return true
		}
	}
	return false
}

// content opens the file and authenticates all of it.
func (f *fileCheck) content(key *envelope.DataKey) {
	o := f.s.fileOptions(f.store, key)
	o.Store, o.Workers = &metered{File: f.store, progress: f.Progress}, 1 // several files are checked at once
	file, err := f.s.openRoots(f.store, o, f.roots, &fileState{})
	if err != nil {
		f.badRoot(o, err)
		return
	}
	defer file.Wipe()
	defer context.AfterFunc(f.ctx, file.Wipe)() // which ends Verify
	if err := f.roots.SpareDamage(); err != nil && !f.s.vol.mounts.AnyUnclean() {
		f.fault(FaultSparePage, err)
	}
	f.sizes(file)
	if err := file.Verify(nil); err != nil {
		if f.ctx.Err() == nil {
			f.badContent(file, err)
		}
		return
	}
	f.beyond(file)
	f.authentic(file.Size())
}

// sizes compares what stat shows with the file's size.
func (f *fileCheck) sizes(file *envelope.File) {
	if size := file.Size(); f.size >= 0 && f.size != size && !file.Unsettled() {
		f.fault(FaultStatRecord, fmt.Errorf("%d bytes, the file has %d", f.size, size))
	}
	var buf [256]byte
	n, err := f.store.GetXattr(hintAttr, buf[:])
	if err != nil {
		return
	}
	h, err := f.s.vol.crypto.OpenHint(buf[:n])
	switch {
	case err != nil:
		f.fault(FaultHint, err)
	case !f.s.vol.believable(h.MountID):
	case h.FileID == file.ID() && h.Sequence > f.roots.Newest().Sequence:
		f.fault(FaultRootPage, fmt.Errorf("commit %d is the newest, the size for stat is of commit %d", f.roots.Newest().Sequence, h.Sequence))
	case h.FileID != file.ID():
		f.fault(FaultHint, errors.New("it is another file's"))
	case h.Sequence < f.roots.Newest().Sequence && !f.s.vol.believable(f.roots.Newest().MountID):
		return // a crash came between a later commit and its hint; the next open writes it
	case int64(h.Size) != file.Size():
		f.fault(FaultHint, fmt.Errorf("%d bytes, the file has %d", h.Size, file.Size()))
	}
}

// badRoot reports a file whose root page is not good, and saves the state before.
func (f *fileCheck) badRoot(o envelope.FileOptions, cause error) {
	switch kind := envelope.KindOf(cause); {
	case neverWritten(cause):
		return // it reads as empty
	case kind == envelope.KindWrongKey:
		f.fault(FaultKeyMismatch, cause)
		return
	case kind != envelope.KindCorrupt:
		f.fault(FaultUnreadable, cause)
		return
	}
	x := fault(FaultRootPage, f.o, cause)
	if f.Repair {
		if older, err := envelope.OpenFile(o, f.roots, envelope.Trust{}); err == nil {
			x.Lost = lostRanges(f.ctx, older)
			f.save(&x, older, "state before the last change")
			older.Wipe()
		}
	}
	f.report(x)
}

// badContent reports which bytes are lost, and saves the others.
func (f *fileCheck) badContent(file *envelope.File, cause error) {
	x := fault(FaultContent, f.o, cause)
	if x.Lost = lostRanges(f.ctx, file); f.Repair {
		f.save(&x, file, "content")
	}
	f.report(x)
}

// beyond reports space of the store behind the last page of either root.
func (f *fileCheck) beyond(file *envelope.File) {
	stored, err := f.store.Size()
	end := file.StoreEnd()
	if err != nil || file.Unsettled() || end == 0 || stored <= end {
		return
	}
	x := fault(FaultBeyond, f.o, fmt.Errorf("%d bytes", stored-end))
	f.reclaim(&x, func() error { return f.cut(end) })
	f.report(x)
}
