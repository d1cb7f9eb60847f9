package envelope

import (
	"errors"
	"fmt"
)

// Trust says what the caller knows about how a file was last written.
type Trust struct {
	// Settled: the last writer is this live mount or one that ended cleanly, so that the newest
	// root page must be good; anything else is an attack or a fault. See Roots.Settled.
	Settled bool
	// DurableSeq is the sequence of the commit that was last known durable, as File.State returned
	// it, or that of the newest root after a clean end. 0 when unknown: then the first write
	// flushes the store before it. A settled file whose newest root is older was rolled back:
	// KindCorrupt.
	DurableSeq uint64
	// Fresh: the file was created by this live mount and no Sync of it ever returned, so that
	// nothing of it is promised yet. Saves the flush that DurableSeq 0 costs.
	Fresh bool
	// FlushFailed: the last Sync of this file by this live mount failed, as File.FlushFailed told
	// before Wipe. The store may have dropped what it should have flushed and would not say so
	// again, so the next Sync writes the whole file anew.
	FlushFailed bool
	// Unproven: the file is not settled, it has a lone root (Roots.Lone), and nothing says that this root was
	// ever durable. Its whole tree is authenticated then, and KindTruncated is the answer when it is not all
	// there: the file was never synced before the crash.
	Unproven bool
}

// maxSequenceGap bounds how far an unauthenticated sequence may push the next one.
const maxSequenceGap = 1 << 32

// maxGarbage is the number of unreachable pages from which a file whose last commit is not durable
// is flushed before its first write, so that they can be used again.
const maxGarbage = 256

var errDamagedRoot = errors.New("a later root page than the newest good one is damaged")

var errRolledBack = errors.New("the newest root page is older than the commit that was known durable")

// candidate is a root page with its body.
type candidate struct {
	slot   int
	header *Header
	body   *body
	err    error
}

// OpenFile opens an existing file with its key. A key that the file does not commit to is of
// KindWrongKey, content that fails authentication of KindCorrupt. It reads the tree only as far as
// an unsettled file needs to choose its root, and writes nothing.
func OpenFile(o FileOptions, r *Roots, t Trust) (*File, error) {
	const op = "open"
	h := r.Newest()
	if err := o.check(op, h.FileID); err != nil {
		return nil, err
	}
	f := newFile(o, h.VolumeID, h.FileID)
	if err := f.open(op, r, t); err != nil {
		f.Wipe()
		return nil, err
	}
	return f, nil
}

// open chooses the root and loads it.
func (f *File) open(op string, r *Roots, t Trust) error {
	newest := f.candidate(r, r.newest)
	if newest.header == nil {
		return newError(op, KindWrongKey, f.id, errors.New("key commitment does not match"))
	}
	chosen, other := newest, f.candidate(r, 1-r.newest)
	switch {
	case t.Settled && r.damaged() != nil:
		return f.corrupt(op, NoBlock, errDamagedRoot)
	case t.Settled && t.DurableSeq > newest.header.Sequence:
		return f.corrupt(op, NoBlock, errRolledBack)
	case t.Settled && newest.err != nil:
		return f.corrupt(op, NoBlock, newest.err)
	case !t.Settled:
		var err error
		if chosen, other, err = f.choose(op, newest, other, t.Unproven && r.Lone()); err != nil {
			return err
		}
	}
	if t.Unproven && !t.Settled && r.Lone() {
		if err := f.prove(op, chosen); err != nil {
			return err
		}
	}
	f.load(chosen)
	f.settling = !t.Settled
	f.torn = r.slots[1-chosen.slot].torn()
	f.rewrite, f.rewriteAll = t.FlushFailed, t.FlushFailed
	f.namedEnd = f.pages.end
	if other.body != nil {
		f.namedEnd = max(f.namedEnd, other.body.end)
		clear(other.body.inline)
	}
	f.maxSeq = highestSequence(r, chosen.header.Sequence)
	f.setDurability(t, chosen, other)
	return nil
}

// candidate opens the body of a root page; header is nil unless it belongs to this file's key.
func (f *File) candidate(r *Roots, slot int) candidate {
	s := &r.slots[slot]
	if s.header == nil || s.header.FileID != f.id || s.header.VolumeID != f.volume || !s.header.checkCommitment(f.keys.tree) {
		return candidate{slot: slot}
	}
	b, err := openRoot(&s.page, f.keys.tree, s.header)
	return candidate{slot: slot, header: s.header, body: b, err: err}
}

// good reports whether the root page's body is authentic.
func (c *candidate) good() bool { return c.header != nil && c.err == nil }

// choose picks the root of a file that an unclean end may have left half committed: the newest whose
// body and whatever differs from the other root's tree authenticate, else the other.
func (f *File) choose(op string, newest, other candidate, unproven bool) (chosen, rest candidate, err error) {
	switch {
	case !newest.good() && !other.good() && unproven:
		return newest, other, newError(op, KindTruncated, f.id, fmt.Errorf("the only commit is not complete: %w", newest.err))
	case !newest.good() && !other.good():
		return newest, other, f.corrupt(op, NoBlock, newest.err)
	case !newest.good():
		return other, newest, nil
	case !other.good() || newest.header.Sequence == other.header.Sequence:
		return newest, other, nil
	}
	d := differ{f: f, op: op, height: other.body.height, roots: other.body.entries}
	err = d.check(newest.body)
	switch {
	case err == nil:
		return newest, other, nil
	case KindOf(err) == KindCorrupt:
		return other, newest, nil
	}
	return newest, other, err
}

// prove authenticates the whole tree of a lone root that may never have been durable.
func (f *File) prove(op string, c candidate) error {
	d := differ{f: f, op: op}
	err := d.check(c.body)
	if KindOf(err) == KindCorrupt {
		return newError(op, KindTruncated, f.id, fmt.Errorf("the only commit is not complete: %w", err))
	}
	return err
}

// highestSequence returns the highest sequence in either slot that is plausible beside good, which
// is authentic.
func highestSequence(r *Roots, good uint64) uint64 {
	high := good
	for i := range r.slots {
		h := decodeHeader(&r.slots[i].page)
		if h.Sequence > high && h.Sequence-good < maxSequenceGap {
			high = h.Sequence
		}
	}
	return high
}

// load makes c the working tree.
func (f *File) load(c candidate) {
	h, b := c.header, c.body
	f.commit = h.Commitment
	f.slotArea, f.flags = h.SlotArea, h.Flags
	f.size, f.height, f.roots = b.size, b.height, b.entries
	f.epoch, f.messages = uint16(b.epoch), b.messages
	f.pages.end, f.pages.used = b.end, b.used
	f.last = rootRef{slot: c.slot, seq: h.Sequence}
	f.unflushed, f.inherited = true, true
	if b.kind == bodyInline {
		f.inline = true
		buf := newBlockBuffer()
		copy(buf.p[:], b.inline)
		clear(b.inline)
		f.dirty[0] = buf
	}
}

// setDurability decides which root counts as durable and what that allows. Whenever that is not
// certain, the store is flushed before the first write.
func (f *File) setDurability(t Trust, chosen, other candidate) {
	seq := chosen.header.Sequence
	twins := other.header != nil && other.header.Sequence == seq // after RewriteSlots
	switch {
	case !t.Settled || twins:
		f.flushFirst = true
	case t.DurableSeq == seq:
		f.durable, f.unflushed, f.inherited = f.last, false, false
		f.pages.walkable = true
	case t.Fresh && t.DurableSeq == 0 && other.header == nil:
		f.pages.walkable = true
	case t.DurableSeq != 0 && other.good() && other.header.Sequence == t.DurableSeq && f.pages.freePages() < f.pages.used+maxGarbage:
		f.durable = rootRef{slot: other.slot, seq: t.DurableSeq}
		// The last root's end lies beyond every page that either root names: its writer knew both.
	default:
		f.flushFirst = true
	}
}

// differ authenticates the part of a tree that another tree does not share.
type differ struct {
	f      *File
	op     string
	height uint8 // of the other tree
	roots  []entry
}

// check walks the tree of b.
func (d *differ) check(b *body) error {
	var s shape
	for i := range b.entries {
		id := nodeID{b.height, uint64(i)}
		if id.height == 0 && i%chunkBlocks == 0 {
			s = rootShape(b.entries, i)
		}
		if err := d.below(id, s, b.entries[i], d.otherEntry(id, nil, i)); err != nil {
			return err
		}
	}
	return nil
}

// otherEntry returns the other tree's entry for id, which is place i of its parent there (nil when
// the parent is the root, above it, or could not be read).
func (d *differ) otherEntry(id nodeID, parent *node, i int) entry {
	switch {
	case parent != nil:
		return parent.entry(i)
	case id.height == d.height && id.index < uint64(len(d.roots)):
		return d.roots[id.index]
	}
	return entry{}
}

// below authenticates what e leads to unless the other tree has the same entry. s is the shape of
// the chunk that a block belongs to.
func (d *differ) below(id nodeID, s shape, e, other entry) error {
	if e.page == 0 || e == other {
		return nil
	}
	if id.height == 0 {
		b := newBlockBuffer()
		defer b.release()
		return d.f.fetchShaped(d.op, id, s, &e, b.p[:])
	}
	n, err := d.f.fetchNode(d.op, id, &e)
	if err != nil {
		return err
	}
	var o *node
	if !other.hole() {
		o, _ = d.f.fetchNode(d.op, id, &other)
	}
	for i := range fanOut {
		c := id.child(i)
		if c.height == 0 && i%chunkBlocks == 0 {
			s = n.shape(i)
		}
		if err := d.below(c, s, n.entry(i), d.otherEntry(c, o, i)); err != nil {
			return err
		}
	}
	return nil
}
