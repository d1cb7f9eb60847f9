package envelope

import (
	"errors"
	"fmt"
	"io"
)

// Store is the backing file under an encrypted file. As io.ReaderAt and io.WriterAt ask for, several
// goroutines may read, and several may write different pages, at the same time.
type Store interface {
	io.ReaderAt // past the end: io.EOF with the bytes before it
	io.WriterAt // grows the store as needed
	Truncate(size int64) error
	// Sync returns once everything written before it survives a power loss.
	Sync() error
	Size() (int64, error)
}

// rootSlot is what one of the two root slots holds.
type rootSlot struct {
	page   [PageSize]byte
	header *Header // nil unless the page parses
	kind   Kind    // why it does not parse; 0 for a slot that was never written
	err    error
}

// Roots holds both root pages of a store as ReadRoots found them.
type Roots struct {
	slots   [2]rootSlot
	newest  int
	settled bool // as Settled last answered
}

// ReadRoots reads and parses both root pages with one read and no key. The errors are of KindIO,
// KindTruncated (empty, short or never written), KindCorrupt and KindUnsupported.
func ReadRoots(s Store) (*Roots, error) {
	const op = "read header"
	var buf [2 * PageSize]byte
	n, err := s.ReadAt(buf[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, newError(op, KindIO, FileID{}, err)
	}
	if n < PageSize {
		return nil, newError(op, KindTruncated, FileID{}, fmt.Errorf("%d bytes, a header needs %d", n, PageSize))
	}
	clear(buf[n:])
	r := &Roots{}
	for i := range r.slots {
		r.slots[i].parse((*[PageSize]byte)(buf[i*PageSize:]))
	}
	return r, r.chooseNewest(op)
}

// parse fills the slot from page.
func (s *rootSlot) parse(page *[PageSize]byte) {
	*s = rootSlot{page: *page}
	if allZero(page[:]) {
		return
	}
	s.header, s.kind, s.err = parseHeader(page)
}

// chooseNewest sets r.newest, or says why there is none.
func (r *Roots) chooseNewest(op string) error {
	a, b := &r.slots[0], &r.slots[1]
	switch {
	case a.header == nil && b.header == nil:
		if a.blank() {
			r.newest = 1
		}
		return r.noRoot(op)
	case a.header == nil, b.header != nil && b.header.newer(a.header):
		r.newest = 1
	default:
		r.newest = 0
	}
	return nil
}

// ErrLoneRoot is in the chain of the error of ReadRoots for a file of which one root page was ever written,
// and that one is damaged.
var ErrLoneRoot = errors.New("the only root page that was ever written is damaged")

// noRoot returns the error for a store without a usable root page.
func (r *Roots) noRoot(op string) error {
	if one, other := &r.slots[r.newest], &r.slots[1-r.newest]; one.kind == KindCorrupt && other.blank() {
		return newError(op, KindCorrupt, FileID{}, fmt.Errorf("%w: %w", ErrLoneRoot, one.err))
	}
	worst := newError(op, KindTruncated, FileID{}, errors.New("header was never written"))
	for i := range r.slots {
		s := &r.slots[i]
		if s.err != nil && (worst.Kind == KindTruncated || s.kind == KindUnsupported) {
			worst = newError(op, s.kind, FileID{}, s.err)
		}
	}
	return worst
}

// torn returns a copy of the page if it looks like a root page that a crash has torn, else nil.
func (s *rootSlot) torn() *[PageSize]byte {
	if s.header != nil || s.kind != KindCorrupt || errors.Is(s.err, errBadMagic) {
		return nil
	}
	page := s.page
	return &page
}

// blank reports whether the slot was never written.
func (s *rootSlot) blank() bool { return s.header == nil && s.err == nil }

// Lone reports whether only one root page was ever written: no commit was made after a flush of the file,
// if there was one.
func (r *Roots) Lone() bool { return r.slots[1-r.newest].blank() }

// Newest returns the header of the newest root page that parses: the highest sequence, then the
// highest revision.
func (r *Roots) Newest() *Header { return r.slots[r.newest].header }

// Other returns the header of the other root page, nil when it does not parse.
func (r *Roots) Other() *Header { return r.slots[1-r.newest].header }

// Settled reports whether the file may be trusted to have no half-finished commit: no mount that
// ended uncleanly wrote the newest root page or a later, damaged one. Its result is what belongs
// into Trust.Settled.
func (r *Roots) Settled(unclean func(mountID uint64) bool) bool {
	d := r.damaged()
	r.settled = !unclean(r.Newest().MountID) && (d == nil || !unclean(d.MountID))
	return r.settled
}

// damaged returns the fields of a root page that does not parse but claims to be later than the
// newest that does; nil when there is none.
func (r *Roots) damaged() *Header {
	s := &r.slots[1-r.newest]
	if s.header != nil || s.err == nil || errors.Is(s.err, errBadMagic) {
		return nil
	}
	h := decodeHeader(&s.page)
	if h.Sequence <= r.Newest().Sequence {
		return nil
	}
	return &h
}

// SpareDamage tells why the root page that is not the newest does not parse; nil when it does or was
// never written. Nothing depends on it in a settled file, unless it claims to be later.
func (r *Roots) SpareDamage() error {
	s := &r.slots[1-r.newest]
	if s.err == nil {
		return nil
	}
	return newError("read header", s.kind, r.Newest().FileID, s.err)
}

var errUnsettled = errors.New("the file is not known to be settled: call Roots.Settled first, and open an unsettled file with its key instead")

// RewriteSlots replaces the slot area without the data key: it writes the newest root page with
// area in it to the other root slot and updates r. The caller has flushed the store since the
// newest root page was written, holds the file closed, and flushes afterwards before it relies on
// the new slots. KindSlotsFull when area does not fit beside the body. KindInvalid unless r.Settled
// has answered true: on an unsettled file the other root may be the only good one, and only OpenFile
// can tell; use File.SetSlotArea and Sync there.
func RewriteSlots(s Store, r *Roots, area []byte) error {
	const op = "rewrite slots"
	old := r.Newest()
	if !r.settled {
		return newError(op, KindInvalid, old.FileID, errUnsettled)
	}
	if len(area) > old.SlotSpace || len(area) > MaxSlotArea {
		return newError(op, KindSlotsFull, old.FileID, fmt.Errorf("%d bytes, room for %d", len(area), min(old.SlotSpace, MaxSlotArea)))
	}
	h := *old
	h.SlotArea = area
	h.Revision++
	if h.Revision == 0 {
		return newError(op, KindSlotsFull, old.FileID, errors.New("revision counter is exhausted; open and commit the file"))
	}
	var page [PageSize]byte
	copy(page[bodyEnd-h.bodyLen:], r.slots[r.newest].page[bodyEnd-h.bodyLen:])
	h.put(&page)
	sealChecksum(&page)
	target := 1 - r.newest
	if _, err := s.WriteAt(page[:], int64(target)*PageSize); err != nil {
		return newError(op, KindIO, old.FileID, err)
	}
	r.slots[target].parse(&page)
	r.newest = target
	return nil
}
