package envelope

import (
	"errors"
	"io"
	"math/rand/v2"
)

// errCrash is what a crashStore answers once it has crashed.
var errCrash = errors.New("crashed")

// crashStore is a store in memory that can lose power or have its process killed at any page
// write. Until Sync, each page keeps all versions written since the last one.
type crashStore struct {
	cur     map[int64]*[PageSize]byte   // what reads see
	durable map[int64]*[PageSize]byte   // what the last Sync made safe
	pending map[int64][]*[PageSize]byte // versions since, oldest first; nil is a page cut off
	size    int64                       // bytes, as reads see it
	sizes   []int64                     // durable size, then each since

	budget  int             // page writes and flushes until the crash; negative: none
	crashed bool            // every operation fails
	inhand  *[PageSize]byte // the page write that the crash hit
	inpage  int64           // where

	syncs, writes int
	fail          func(op string) error       // injected fault of "write" or "sync", nil: none
	failPage      func(page int64) error      // the same for page writes alone
	lost          map[int64][]*[PageSize]byte // what a failed Sync forgot: reads see it, no later Sync saves it
}

func newCrashStore() *crashStore {
	return &crashStore{
		cur: map[int64]*[PageSize]byte{}, durable: map[int64]*[PageSize]byte{},
		pending: map[int64][]*[PageSize]byte{}, lost: map[int64][]*[PageSize]byte{}, sizes: []int64{0}, budget: -1,
	}
}

// step counts one page write or flush and reports whether the crash hits it.
func (s *crashStore) step() bool {
	if s.crashed {
		return true
	}
	if s.budget == 0 {
		s.crashed = true
		return true
	}
	if s.budget > 0 {
		s.budget--
	}
	return false
}

func (s *crashStore) ReadAt(p []byte, off int64) (int, error) {
	if s.crashed {
		return 0, errCrash
	}
	n := int(min(int64(len(p)), max(0, s.size-off)))
	for done := 0; done < n; {
		page, in := (off+int64(done))/PageSize, int((off+int64(done))%PageSize)
		m := min(n-done, PageSize-in)
		if c := s.cur[page]; c != nil {
			copy(p[done:done+m], c[in:])
		} else {
			clear(p[done : done+m])
		}
		done += m
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// writeFault returns the fault injected into the write of a page.
func (s *crashStore) writeFault(page int64) error {
	if s.failPage != nil {
		return s.failPage(page)
	}
	if s.fail != nil {
		return s.fail("write")
	}
	return nil
}

// WriteAt takes whole pages only: the engine promises to write nothing else.
func (s *crashStore) WriteAt(p []byte, off int64) (int, error) {
	if off%PageSize != 0 || len(p)%PageSize != 0 {
		return 0, errors.New("write is not in whole pages")
	}
	for n := 0; n < len(p); n += PageSize {
		page := (off + int64(n)) / PageSize
		v := [PageSize]byte(p[n:])
		if err := s.writeFault(page); err != nil {
			if errors.Is(err, errFaultWritten) {
				s.put(page, &v)
			}
			return n, err
		}
		if s.step() {
			if s.inhand == nil {
				s.inhand, s.inpage = &v, page
			}
			return n, errCrash
		}
		s.writes++
		s.put(page, &v)
	}
	return len(p), nil
}

// put replaces one page.
func (s *crashStore) put(page int64, v *[PageSize]byte) {
	s.cur[page] = v
	delete(s.lost, page)
	s.pending[page] = append(s.pending[page], v)
	if end := (page + 1) * PageSize; end > s.size {
		s.size = end
		s.sizes = append(s.sizes, end)
	}
}

func (s *crashStore) Truncate(size int64) error {
	if s.step() {
		return errCrash
	}
	if size%PageSize != 0 {
		return errors.New("truncate to part of a page")
	}
	for page := range s.cur {
		if page >= size/PageSize {
			delete(s.cur, page)
			s.pending[page] = append(s.pending[page], nil)
		}
	}
	s.size = size
	s.sizes = append(s.sizes, size)
	return nil
}

func (s *crashStore) Sync() error {
	if s.fail != nil {
		if err := s.fail("sync"); err != nil {
			s.forget()
			return err
		}
	}
	if s.step() {
		return errCrash
	}
	s.syncs++
	s.settle()
	return nil
}

// forget is what a failed Sync does to the pages that it should have saved, as on Linux: they read
// back as written, count as clean, and are gone after a power loss.
func (s *crashStore) forget() {
	for page, versions := range s.pending {
		s.lost[page] = append(s.lost[page], versions...)
		delete(s.pending, page)
	}
}

// settle makes durable what reads see.
func (s *crashStore) settle() {
	for page := range s.pending {
		if c := s.cur[page]; c != nil {
			s.durable[page] = c
		} else {
			delete(s.durable, page)
		}
	}
	clear(s.pending)
	s.sizes = append(s.sizes[:0], s.size)
}

func (s *crashStore) Size() (int64, error) { return s.size, nil }

// reboot ends the crash. After a kill all completed page writes are there and still not durable.
// After a power loss each page is, sector by sector when torn, at any version since the last Sync,
// and so is the size.
func (s *crashStore) reboot(r *rand.Rand, power bool) {
	if s.inhand != nil && (power || r.IntN(2) == 0) {
		s.put(s.inpage, s.inhand)
	}
	s.crashed, s.inhand, s.budget = false, nil, -1
	for page, versions := range s.lost {
		s.pending[page] = append(versions, s.pending[page]...)
	}
	clear(s.lost) // a new process can't know of the failed Sync: not covered
	if !power {
		return
	}
	s.size = s.sizes[r.IntN(len(s.sizes))]
	lossy := r.IntN(4) // 0: everything arrived but for the odd page
	for page, versions := range s.pending {
		all := append([]*[PageSize]byte{s.durable[page]}, versions...)
		pick := all[r.IntN(len(all))]
		if lossy == 0 && r.IntN(8) > 0 {
			pick = all[len(all)-1]
		}
		if r.IntN(4) == 0 {
			pick = tear(r, all)
		}
		s.cur[page] = pick
	}
	for page, c := range s.cur {
		if c == nil || page >= s.size/PageSize {
			delete(s.cur, page)
		}
	}
	for page := range s.durable {
		if s.cur[page] == nil {
			s.pending[page] = nil
		}
	}
	s.settle()
}

// tear mixes versions of a page by 512-byte sectors.
func tear(r *rand.Rand, versions []*[PageSize]byte) *[PageSize]byte {
	var page [PageSize]byte
	for i := 0; i < PageSize; i += 512 {
		if v := versions[r.IntN(len(versions))]; v != nil {
			copy(page[i:i+512], v[i:])
		}
	}
	return &page
}
