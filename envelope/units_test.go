package envelope

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestPageSetBehavesLikeASetOfNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var s, o pageSet
		want, other := map[uint64]bool{}, map[uint64]bool{}
		for range r.IntN(300) {
			p := uint64(r.IntN(4 * chunkPages))
			switch r.IntN(6) {
			case 0:
				if s.remove(p) != want[p] {
					t.Fatal("remove reports the wrong thing")
				}
				delete(want, p)
			case 1:
				hi := p + uint64(r.IntN(2*chunkPages))
				s.addRange(p, hi)
				for ; p < hi; p++ {
					want[p] = true
				}
			case 2:
				o.add(p)
				other[p] = true
			default:
				s.add(p)
				want[p] = true
			}
		}
		checkPageSet(t, &s, want)
		if r.IntN(2) == 0 {
			s.subtract(&o)
			for p := range other {
				delete(want, p)
			}
		} else {
			s.merge(&o)
			for p := range other {
				want[p] = true
			}
			checkPageSet(t, &o, nil)
		}
		checkPageSet(t, &s, want)
	}
}

func checkPageSet(t *testing.T, s *pageSet, want map[uint64]bool) {
	t.Helper()
	if s.len() != uint64(len(want)) {
		t.Fatalf("%d pages, want %d", s.len(), len(want))
	}
	n := 0
	for p, ok := s.lowest(); ok; p, ok = s.next(p + 1) {
		if !want[p] || !s.has(p) {
			t.Fatalf("page %d should not be there", p)
		}
		n++
	}
	if n != len(want) {
		t.Fatalf("next finds %d pages of %d", n, len(want))
	}
}

func TestNewEpochKeepsOldBlocksReadable(t *testing.T) {
	s := &memStore{}
	o := optionsFor(t, s)
	o.limits = limits{dirtyBlocks: 10, dirtyNodes: 10, epochMessages: 50}
	f, err := CreateFile(o, VolumeID{1}, FileID{2}, nil, 0)
	must(t, err)
	p := pattern(1, 400_000)
	writeSynced(t, f, p)
	for i := range 20 {
		copy(p[i*10_000:], pattern(byte(i), 10_000))
		_, err := f.WriteAt(p[i*10_000:(i+1)*10_000], int64(i*10_000))
		must(t, err)
		must(t, f.Sync())
	}
	if f.epoch < 2 || f.messages > 50 {
		t.Errorf("epoch %d after %d messages in it", f.epoch, f.messages)
	}
	f.Wipe()
	g, err := openTestFile(t, s)
	must(t, err)
	wantContent(t, g, p)
	if g.epoch != f.epoch || g.messages != f.messages {
		t.Errorf("epoch %d with %d messages after reopening, want %d with %d", g.epoch, g.messages, f.epoch, f.messages)
	}
}

func TestLastEpochRefusesMoreWritesInsteadOfReusingNonces(t *testing.T) {
	f, _ := newTestFile(t)
	f.epoch, f.messages = 1<<16-1, f.limits.epochMessages
	_, err := f.WriteAt(pattern(1, 100_000), 0)
	wantKind(t, err, KindTooLarge)
}

func TestNodeCacheIsBounded(t *testing.T) {
	f, s := newTestFile(t)
	must(t, f.Truncate(400*fanOut*PageSize))
	for i := range int64(400) {
		_, err := f.WriteAt([]byte{1}, i*fanOut*PageSize)
		must(t, err)
	}
	must(t, f.Sync())
	if n := len(f.nodes.clean); n > maxCleanNodes {
		t.Errorf("%d clean tag pages in memory, at most %d are allowed", n, maxCleanNodes)
	}
	f.Wipe()
	g, err := openTestFile(t, s)
	must(t, err)
	must(t, g.Verify(nil))
	if n := len(g.nodes.clean); n > maxCleanNodes || n < 100 {
		t.Errorf("%d clean tag pages in memory after reading 404", n)
	}
}

func TestUnwrittenStateIsBounded(t *testing.T) {
	f, _ := newTestFile(t)
	for i := range int64(6000) {
		_, err := f.WriteAt([]byte{1}, i*3*PageSize)
		must(t, err)
		if len(f.dirty) > f.limits.dirtyBlocks+1 || f.nodes.dirtyCount() > f.limits.dirtyNodes+4 {
			t.Fatalf("%d blocks and %d tag pages wait to be written", len(f.dirty), f.nodes.dirtyCount())
		}
	}
}

func TestUnsettledFileIsSettledByOneCommit(t *testing.T) {
	f, s := newTestFile(t)
	writeSynced(t, f, pattern(1, 50_000))
	f.Wipe()
	r, err := ReadRoots(s)
	must(t, err)
	o := optionsFor(t, s)
	o.MountID = 2
	f, err = OpenFile(o, r, Trust{})
	must(t, err)
	if !f.Unsettled() || f.Dirty() {
		t.Errorf("unsettled %v, dirty %v", f.Unsettled(), f.Dirty())
	}
	must(t, f.Sync())
	if f.Unsettled() {
		t.Error("still unsettled after a commit")
	}
	f.Wipe()
	r, err = ReadRoots(s)
	must(t, err)
	if !r.Settled(func(id uint64) bool { return id == 1 }) {
		t.Error("the header still counts as unsettled")
	}
	g, err := openTestFile(t, s)
	must(t, err)
	wantContent(t, g, pattern(1, 50_000))
}

func TestFailedFlushIsRepeatedWithAllThatItCovered(t *testing.T) {
	c := newCrashStore()
	o := FileOptions{Store: c, Key: dataKeyOf(t, 7), Stat: zeroStat{}}
	f, err := CreateFile(o, VolumeID{1}, FileID{2}, nil, 0)
	must(t, err)
	writeSynced(t, f, pattern(1, 200_000))
	_, err = f.WriteAt(pattern(2, 200_000), 0)
	must(t, err)
	c.fail = func(op string) error {
		if op == "sync" {
			return errFault
		}
		return nil
	}
	wantKind(t, f.Sync(), KindIO)
	if !f.FlushFailed() {
		t.Error("the failure is not remembered")
	}
	c.fail = nil
	must(t, f.Sync())
	f.Wipe()
	c.cur, c.pending, c.lost = c.durable, map[int64][]*[PageSize]byte{}, map[int64][]*[PageSize]byte{} // power loss
	g, err := openTestFile(t, c)
	must(t, err)
	wantContent(t, g, pattern(2, 200_000))
}

// A root write that fails may have happened all the same, over the last committed root: then its
// pages are all that keeps the commit before it.
func TestPagesOfAFailedRootWriteAreNotReused(t *testing.T) {
	c := newCrashStore()
	o := FileOptions{Store: c, Key: dataKeyOf(t, 7), Stat: zeroStat{}, MountID: 1}
	f, err := CreateFile(o, VolumeID{1}, FileID{2}, nil, 0)
	must(t, err)
	writeSynced(t, f, pattern(1, 200_000))
	for i := byte(2); i < 4; i++ {
		_, err = f.WriteAt(pattern(i, 200_000), 0)
		must(t, err)
		if i == 2 {
			must(t, f.Commit())
		}
	}
	c.failPage = func(page int64) error {
		if page < firstPage {
			return errFaultWritten
		}
		return nil
	}
	wantKind(t, f.Commit(), KindIO)
	c.failPage = nil
	for i := byte(4); i < 8; i++ { // goes to new pages at once, without a root
		_, err = f.WriteAt(pattern(i, 200_000), 0)
		must(t, err)
	}
	f.Wipe() // killed
	r, err := ReadRoots(c)
	must(t, err)
	o.MountID = 2
	f, err = OpenFile(o, r, Trust{})
	must(t, err)
	got := make([]byte, 200_000)
	_, err = f.ReadAt(got, 0)
	must(t, err)
	if !bytes.Equal(got, pattern(2, 200_000)) && !bytes.Equal(got, pattern(3, 200_000)) {
		t.Error("the last commit before the failed one is lost")
	}
}
