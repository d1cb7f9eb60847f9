package envelope

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
)

// StatSealer seals the size of a file so that it can be read without the file's key. *Volume
// implements it.
type StatSealer interface {
	SealStat(id FileID, seq, size uint64) [StatRecordSize]byte
}

// FileOptions says how to create or open a file.
type FileOptions struct {
	Store   Store
	Key     *DataKey   // not kept: it may be wiped once CreateFile or OpenFile has returned
	Stat    StatSealer // writes the stat record of each commit
	MountID uint64     // goes into each commit; says later whether its writer ended cleanly
	Workers int        // goroutines that one big request may use; below 2 none
	After   uint64     // CreateFile: commits get sequences above this, that of an older file of the same id

	random io.Reader // of salts and nonces, crypto/rand.Reader when nil; vectors fix it
	limits limits
}

// limits bounds what a File keeps back; tests lower them.
type limits struct {
	dirtyBlocks   int    // buffered plaintext blocks from which they are written ahead of the commit
	dirtyNodes    int    // unwritten tag pages from which a commit is made
	epochMessages uint64 // messages sealed under the subkeys of one epoch
}

// defaultLimits are 8 MiB of plaintext, 2 MiB of tag pages, and 2^31 messages: random 96-bit nonces
// allow 2^32, the margin covers counts lost in crashes.
var defaultLimits = limits{dirtyBlocks: 2048, dirtyNodes: 512, epochMessages: 1 << 31}

// rootRef names a root page on the store; sequence 0 means none.
type rootRef struct {
	slot int
	seq  uint64
}

// File is an open encrypted file. It is safe for concurrent use: reads share, changes exclude.
//
// Lock order: commitMu, then mu. The caches of tag pages, chunks and keys have locks of their own, which
// are taken last and held for no call out of them. commitMu is held for the whole of a commit or
// sync, also during the device flush; mu is not held during the flush, so reads and buffered
// writes go on meanwhile.
type File struct {
	commitMu sync.Mutex
	mu       sync.RWMutex

	store    Store
	stat     StatSealer
	keys     *fileKeys
	nonces   nonceSource
	mountID  uint64
	workers  int
	limits   limits
	volume   VolumeID
	id       FileID
	commit   [KeySize]byte // key commitment
	slotArea []byte
	flags    uint16 // of the header
	closed   bool

	// Working tree (W).
	size     uint64
	height   uint8
	roots    []entry
	nodes    nodeCache
	chunks   chunkCache
	dirty    map[uint64]*blockBuffer // plaintext not in the tree yet
	inline   bool                    // the last root holds the data; dirty[0] is its copy
	changed  bool                    // W differs from L
	shrunk   bool                    // so the next sync looks for space to give back
	settling bool                    // an unclean end preceded; the next commit writes a root in any case
	epoch    uint16
	messages uint64 // sealed in epoch
	pages    allocator

	// Roots.
	last       rootRef // L
	durable    rootRef // D
	maxSeq     uint64  // highest sequence seen or attempted
	unflushed  bool    // L is not known durable
	flushFirst bool    // flush before the first write: it is unknown which root is durable
	inherited  bool    // pages written before this open may not be durable
	rewrite    bool    // a flush failed: pages written since D must be written again
	rewriteAll bool    // the same, but it is unknown which these are
	namedEnd   uint64  // first page beyond all that the roots named at open

	torn *[PageSize]byte // root page beside the last root that a crash has torn, until it is made void
}

// nonceSource draws nonces from a random source in batches.
type nonceSource struct {
	r    io.Reader
	buf  [batchBlocks * nonceSize]byte
	left int
}

// next fills n with fresh random bytes.
func (s *nonceSource) next(n *[nonceSize]byte) error {
	if s.left == 0 {
		if _, err := io.ReadFull(s.r, s.buf[:]); err != nil {
			return err
		}
		s.left = len(s.buf)
	}
	s.left -= nonceSize
	copy(n[:], s.buf[s.left:])
	return nil
}

// newFile sets up what CreateFile and OpenFile share.
func newFile(o FileOptions, volume VolumeID, id FileID) *File {
	f := &File{
		store: o.Store, stat: o.Stat, mountID: o.MountID, workers: o.Workers,
		volume: volume, id: id,
		keys:  newFileKeys(o.Key, id, SuiteAES256GCM),
		dirty: make(map[uint64]*blockBuffer),
	}
	f.nonces.r = o.random
	if f.nonces.r == nil {
		f.nonces.r = rand.Reader
	}
	if f.limits = o.limits; f.limits == (limits{}) {
		f.limits = defaultLimits
	}
	f.nodes.init()
	f.pages.end = firstPage
	return f
}

// check refuses options that can't work.
func (o *FileOptions) check(op string, id FileID) error {
	switch {
	case o.Store == nil || o.Stat == nil:
		return newError(op, KindInvalid, id, errors.New("the options name no Store or no Stat"))
	case o.Key == nil || o.Key.wiped():
		return newError(op, KindInvalid, id, errors.New("the key is missing or wiped"))
	}
	return nil
}

// CreateFile makes a new empty file in an empty store: it writes root page 0 and nothing else.
// flags is 0 or FlagCompress. The file is not durable until Sync.
func CreateFile(o FileOptions, volume VolumeID, id FileID, slotArea []byte, flags uint16) (*File, error) {
	const op = "create"
	if err := o.check(op, id); err != nil {
		return nil, err
	}
	if flags&^FlagCompress != 0 {
		return nil, newError(op, KindUnsupported, id, errFlags)
	}
	if len(slotArea) > MaxSlotArea {
		return nil, errSlotArea(op, id, len(slotArea))
	}
	if o.After >= maxSequence {
		return nil, newError(op, KindInvalid, id, errors.New("no sequence is left for commits"))
	}
	f := newFile(o, volume, id)
	f.flags, f.maxSeq = flags, o.After
	f.keys.tree.derive(&f.commit, purposeCommit, nil)
	f.slotArea = append([]byte(nil), slotArea...)
	f.changed, f.unflushed = true, true
	f.pages.walkable, f.pages.complete = true, true
	if err := f.Commit(); err != nil {
		f.Wipe()
		return nil, err
	}
	return f, nil
}

func errSlotArea(op string, id FileID, n int) error {
	return newError(op, KindSlotsFull, id, fmt.Errorf("slot area of %d bytes, room for %d", n, MaxSlotArea))
}

// ID returns the file's identity.
func (f *File) ID() FileID { return f.id }

// Size returns the plaintext size in bytes.
func (f *File) Size() int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return int64(f.size)
}

// Dirty reports whether changes wait for Commit.
func (f *File) Dirty() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.changed
}

// Allocated returns the bytes of the store that the content takes, tag pages included, root pages
// not: 0 for a file in its root page.
func (f *File) Allocated() int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := f.pages.used
	if !f.inline || f.changed {
		n += uint64(len(f.dirty))
	}
	return int64(n) * PageSize
}

// Reclaimable returns the bytes of the store that hold nothing current and that Sync (or later
// writes after it) can give back or use again.
func (f *File) Reclaimable() int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return int64(f.pages.freePages()) * PageSize
}

// StoreEnd returns where the store may end, in bytes, as far as the roots found at open say: behind
// that there is nothing of the file. 0 for a file that was created, not opened.
func (f *File) StoreEnd() int64 { return int64(f.namedEnd) * PageSize }

// State returns the sequence of the last commit and that of the last one known durable (0: none).
func (f *File) State() (seq, durableSeq uint64) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.last.seq, f.durable.seq
}

// Unsettled reports whether the file was opened after an unclean end of its last writer and has not
// been committed since. A Commit then writes a root even without changes, after which later opens
// need not check the last commit again.
func (f *File) Unsettled() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.settling
}

// FlushFailed reports whether the last flush of the store failed, so that what was written since the
// one before must be written again, which the next Sync does. Ask before Wipe and pass the answer
// on in Trust.
func (f *File) FlushFailed() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.rewrite
}

// SlotArea returns a copy of the slot area as the next commit writes it.
func (f *File) SlotArea() []byte {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return append([]byte(nil), f.slotArea...)
}

// SetSlotArea replaces the slot area; it is written by the next commit. KindSlotsFull beyond
// MaxSlotArea bytes.
func (f *File) SetSlotArea(area []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable("set slots"); err != nil {
		return err
	}
	if len(area) > MaxSlotArea {
		return errSlotArea("set slots", f.id, len(area))
	}
	f.slotArea = append([]byte(nil), area...)
	f.changed = true
	return nil
}

// Compresses reports whether what is written to the file is compressed where that saves space.
func (f *File) Compresses() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.compresses()
}

// SetCompress sets whether what is written from now on is compressed; the next commit records it.
func (f *File) SetCompress(on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable("set compression"); err != nil || on == f.compresses() {
		return err
	}
	f.flags ^= FlagCompress
	f.changed = true
	return nil
}

// Wipe overwrites the file's keys and buffered plaintext and drops its caches, without a commit.
// Every later call fails with KindClosed. Safe to call more than once.
func (f *File) Wipe() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	f.keys.wipe()
	for b, buf := range f.dirty {
		buf.release()
		delete(f.dirty, b)
	}
	f.nodes.init()
	f.chunks.dropAll()
	f.roots, f.pages = nil, allocator{}
}

// usable fails once the file is wiped.
func (f *File) usable(op string) error {
	if f.closed {
		return newError(op, KindClosed, f.id, nil)
	}
	return nil
}

// ioError wraps a failure of the store.
func (f *File) ioError(op string, block int64, err error) error {
	return &Error{Op: op, Kind: KindIO, File: f.id, Block: block, Err: err}
}

// corrupt reports content that fails authentication.
func (f *File) corrupt(op string, block int64, err error) error {
	return &Error{Op: op, Kind: KindCorrupt, File: f.id, Block: block, Err: err}
}
