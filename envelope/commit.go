package envelope

import (
	"io"
)

// Commit writes everything that changed since the last commit: data blocks, then tag pages bottom
// up, then the root page. It does not flush the store: a power loss may still undo it, the end of
// this process does not. After a failure the file in memory is unchanged and Commit may be tried
// again.
func (f *File) Commit() error {
	const op = "commit"
	f.commitMu.Lock()
	defer f.commitMu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.commitLocked(op)
}

// commitLocked is Commit under both locks.
func (f *File) commitLocked(op string) error {
	if err := f.usable(op); err != nil || !f.changed && !f.settling {
		return err
	}
	unknown := f.flushFirst
	if err := f.prepareWrite(op); err != nil {
		return err
	}
	if unknown { // the flush just made may have freed what earlier opens left behind
		f.shrunk = true
		f.compact(op)
	}
	if err := f.shape(op); err != nil {
		return err
	}
	write := f.flushBuffers
	if f.size <= uint64(inlineLimit(len(f.slotArea))) {
		write = f.makeInline
	}
	if err := write(op); err != nil {
		return err
	}
	if err := f.writeNodes(op); err != nil {
		return err
	}
	return f.writeRoot(op)
}

// shape gives the tree the height that the size and the slot area ask for.
func (f *File) shape(op string) error {
	for uint64(len(f.trimRoots())) > f.rootLimit() {
		f.raise()
	}
	return f.lower(op)
}

// trimRoots returns the root entries up to the last that leads to anything.
func (f *File) trimRoots() []entry {
	n := len(f.roots)
	for n > 0 && f.roots[n-1].hole() && (f.height == 0 || !f.nodes.isDirty(nodeID{f.height, uint64(n - 1)})) {
		n--
	}
	return f.roots[:n]
}

// makeInline moves the content of a small file to the buffer of block 0, from where the root page
// takes it, and drops the tree.
func (f *File) makeInline(op string) error {
	c := cursor{f: f, op: op}
	if e, err := c.entry(0); err != nil {
		return err
	} else if !e.hole() {
		if _, err := f.buffer(op, 0, false); err != nil {
			return err
		}
	}
	f.dropTree(op)
	f.inline = true
	return nil
}

// inlineData returns the content of a file that makeInline was called for.
func (f *File) inlineData() []byte {
	if b := f.dirty[0]; b != nil {
		return b.p[:f.size]
	}
	return make([]byte, f.size)
}

// writeNodes writes the dirty tag pages, lowest first.
func (f *File) writeNodes(op string) error {
	b := getBatch()
	defer b.release(batchBlocks)
	for h := uint8(1); h <= f.height; h++ {
		list := f.nonEmpty(f.nodes.dirtyAt(h))
		for len(list) > 0 {
			n := min(len(list), batchBlocks)
			if err := f.writeNodeBatch(op, b, list[:n]); err != nil {
				return err
			}
			list = list[n:]
		}
	}
	return nil
}

// nonEmpty forgets the nodes without entries (their own entry is a hole already) and returns the
// rest.
func (f *File) nonEmpty(list []*node) []*node {
	kept := list[:0]
	for _, n := range list {
		if n.empty() {
			f.nodes.remove(n.id)
		} else {
			kept = append(kept, n)
		}
	}
	return kept
}

// writeNodeBatch writes up to batchBlocks nodes of one height.
func (f *File) writeNodeBatch(op string, b *batch, list []*node) error {
	for i, n := range list {
		n.setSequence(f.maxSeq + 1)
		b.jobs[i] = pageJob{id: n.id, plain: n.page[:]}
	}
	jobs := b.jobs[:len(list)]
	if err := f.writePages(op, jobs); err != nil {
		return err
	}
	for i, n := range list {
		f.setNodeEntry(n.id, &jobs[i].e)
		f.nodes.putClean(n)
	}
	return nil
}

// setNodeEntry points the parent of node id, which is dirty or the root, to the node's new page.
func (f *File) setNodeEntry(id nodeID, e *entry) {
	if id.height == f.height {
		f.roots[id.index] = *e
		return
	}
	parent, i := id.parent()
	f.nodes.get(parent).setEntry(i, e)
}

// targetSlot returns the root slot for the next root: never that of the durable root. While no root
// is durable, the first slot used is written again, which keeps small new files in one page.
func (f *File) targetSlot() int {
	if f.durable.seq != 0 {
		return 1 - f.durable.slot
	}
	return f.last.slot
}

// writeRoot seals and writes the root page of W, which becomes L.
func (f *File) writeRoot(op string) error {
	h, b := f.rootHeader(), f.rootBody()
	if _, err := io.ReadFull(f.nonces.r, h.rootSalt[:]); err != nil {
		return f.ioError(op, NoBlock, err)
	}
	f.maxSeq = h.Sequence
	page := newBlockBuffer()
	defer page.release()
	sealRoot(&page.p, f.keys.tree, h, b)
	slot := f.targetSlot()
	if _, err := f.store.WriteAt(page.p[:], int64(slot)*PageSize); err != nil {
		f.pages.rootAttempted()
		return f.ioError(op, NoBlock, err)
	}
	f.pages.rootWritten()
	f.last = rootRef{slot: slot, seq: h.Sequence}
	f.changed, f.settling, f.unflushed = false, false, true
	return nil
}

// rootHeader returns the header of the next root page.
func (f *File) rootHeader() *Header {
	seq := f.maxSeq + 1
	return &Header{
		Suite: SuiteAES256GCM, Flags: f.flags, VolumeID: f.volume, FileID: f.id, Commitment: f.commit,
		Sequence: seq, MountID: f.mountID, SlotArea: f.slotArea,
		StatRecord: f.stat.SealStat(f.id, seq, f.size),
	}
}

// rootBody returns the body of the next root page.
func (f *File) rootBody() *body {
	b := &body{inode: inode{
		size: f.size, used: f.pages.used, end: f.pages.end,
		epoch: uint32(f.epoch), messages: f.messages, height: f.height, kind: bodyTree,
	}}
	if f.inline {
		b.kind, b.inline = bodyInline, f.inlineData()
		b.count = uint16(len(b.inline))
		return b
	}
	b.entries = f.trimRoots()
	b.count = uint16(len(b.entries))
	return b
}
