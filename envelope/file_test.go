package envelope

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestSmallFileIsOnePageOnDisk(t *testing.T) {
	for _, n := range []int{0, 1, MaxInline - 1, MaxInline} {
		f, s := newTestFile(t)
		p := pattern(1, n)
		writeSynced(t, f, p)
		if s.pages() != 1 || len(s.b) != PageSize {
			t.Errorf("%d bytes take %d on disk", n, len(s.b))
		}
		f.Wipe()
		g, err := openTestFile(t, s)
		must(t, err)
		wantContent(t, g, p)
	}
}

func TestWriteOnceOverheadIsOnePercent(t *testing.T) {
	for _, n := range []int{MaxInline + 1, 100_000, 1 << 20, 40<<20 + 77} {
		for _, request := range []int{5000, 128 << 10, 1 << 20} {
			f, s := newTestFile(t)
			p := pattern(2, n)
			for off := 0; off < n; off += request {
				_, err := f.WriteAt(p[off:min(n, off+request)], int64(off))
				must(t, err)
			}
			must(t, f.Sync())
			blocks := (n + PageSize - 1) / PageSize
			// One root pair, the last partial tag pages, 1/112 for tag pages.
			if limit := blocks*PageSize + n/100 + 4*PageSize; len(s.b) > limit {
				t.Errorf("%d bytes in writes of %d take %d on disk, limit %d", n, request, len(s.b), limit)
			}
			wantContent(t, f, p)
		}
	}
}

func TestRepeatedOverwriteStaysBounded(t *testing.T) {
	f, s := newTestFile(t)
	for i := range 40 {
		writeSynced(t, f, pattern(byte(i), 1<<20))
		if len(s.b) > 22<<20/10 {
			t.Fatalf("round %d: 1 MiB takes %d bytes on disk", i, len(s.b))
		}
	}
	wantContent(t, f, pattern(39, 1<<20))
}

func TestRepeatedSmallOverwriteStaysBounded(t *testing.T) {
	f, s := newTestFile(t)
	p := pattern(1, 1<<20)
	writeSynced(t, f, p)
	for i := range 3000 {
		off := i * 7919 % (len(p) - 100)
		copy(p[off:], pattern(byte(i), 100))
		_, err := f.WriteAt(p[off:off+100], int64(off))
		must(t, err)
		if i%3 == 0 {
			must(t, f.Commit())
		} else {
			must(t, f.Sync())
		}
	}
	if len(s.b) > 13<<20/10 {
		t.Errorf("1 MiB takes %d bytes on disk after small overwrites", len(s.b))
	}
	wantContent(t, f, p)
}

func TestReopenAndAppendWithoutSyncStaysBounded(t *testing.T) {
	f, s := newTestFile(t)
	writeSynced(t, f, pattern(1, 10_000))
	size, trust := int64(10_000), Trust{Settled: true}
	for range 2000 {
		_, trust.DurableSeq = f.State()
		f.Wipe()
		r, err := ReadRoots(s)
		must(t, err)
		f, err = OpenFile(optionsFor(t, s), r, trust)
		must(t, err)
		_, err = f.WriteAt([]byte("one line\n"), size)
		must(t, err)
		size += 9
		must(t, f.Commit())
	}
	if limit := int(size) + 2*(maxGarbage+64)*PageSize; len(s.b) > limit {
		t.Errorf("%d bytes take %d on disk, limit %d", size, len(s.b), limit)
	}
	if s.syncs > 200 {
		t.Errorf("%d flushes for 2000 appends without sync", s.syncs)
	}
}

func TestTruncatedSpaceGoesBackToTheStore(t *testing.T) {
	f, s := newTestFile(t)
	p := pattern(3, 8<<20)
	writeSynced(t, f, p)
	must(t, f.Truncate(5000))
	must(t, f.Sync())
	if s.pages() > 2+3+2*trimSlack {
		t.Errorf("5000 bytes take %d pages", s.pages())
	}
	wantContent(t, f, p[:5000])
	f.Wipe()
	g, err := openTestFile(t, s)
	must(t, err)
	wantContent(t, g, p[:5000])
}

func TestSpaceFreedBeforeAReopenIsFoundAgain(t *testing.T) {
	f, s := newTestFile(t)
	p := pattern(4, 4<<20)
	writeSynced(t, f, p)
	must(t, f.Punch(0, 3<<20))
	must(t, f.Sync())
	before := s.pages()
	f.Wipe()
	g, err := openTestFile(t, s)
	must(t, err)
	clear(p[:3<<20])
	copy(p, pattern(5, 2<<20))
	_, err = g.WriteAt(p[:2<<20], 0)
	must(t, err)
	must(t, g.Sync())
	if s.pages() > before {
		t.Errorf("store grew from %d to %d pages although %d were free", before, s.pages(), 768)
	}
	wantContent(t, g, p)
}

// A first draft of the protocol swapped the roles of the root slots on a sync that had written
// nothing, so that the next commit overwrote the only durable root.
func TestSyncOfACleanFileNeitherFlushesNorSwapsRoots(t *testing.T) {
	f, s := newTestFile(t)
	writeSynced(t, f, pattern(1, 100))
	syncs, durable := s.syncs, f.durable
	for range 3 {
		must(t, f.Sync())
	}
	if s.syncs != syncs || f.durable != durable {
		t.Errorf("%d flushes, durable root %v, was %v", s.syncs-syncs, f.durable, durable)
	}
	_, err := f.WriteAt([]byte("x"), 0)
	must(t, err)
	must(t, f.Commit())
	if f.last.slot == durable.slot {
		t.Error("commit overwrote the durable root")
	}
}

func TestSyncCostsOneFlush(t *testing.T) {
	f, s := newTestFile(t)
	for i := range 5 {
		before := s.syncs
		writeSynced(t, f, pattern(byte(i), 300_000))
		if s.syncs != before+1 {
			t.Fatalf("sync %d made %d flushes", i, s.syncs-before)
		}
	}
}

func TestFileGrowsTo16TiBAndNoFurther(t *testing.T) {
	f, s := newTestFile(t)
	must(t, f.SetSlotArea(make([]byte, MaxSlotArea))) // fewest root entries, tallest tree
	_, err := f.WriteAt([]byte("end"), MaxFileSize-3)
	must(t, err)
	must(t, f.Sync())
	_, err = f.WriteAt([]byte("x"), MaxFileSize)
	wantKind(t, err, KindTooLarge)
	wantKind(t, f.Truncate(MaxFileSize+1), KindTooLarge)
	_, err = f.ReadAt(make([]byte, 1), -1)
	wantKind(t, err, KindInvalid)
	f.Wipe()
	g, err := openTestFile(t, s)
	must(t, err)
	off, err := g.SeekData(0)
	if err != nil || off != MaxFileSize-PageSize {
		t.Errorf("data at %d, error %v", off, err)
	}
	p := make([]byte, 10)
	if n, err := g.ReadAt(p, MaxFileSize-4); n != 4 || err != nil || string(p[:4]) != "\x00end" {
		t.Errorf("read %q, %v", p[:n], err)
	}
	if s.pages() > 20 {
		t.Errorf("a sparse file takes %d pages", s.pages())
	}
	must(t, g.Truncate(0))
	must(t, g.Sync())
}

func TestStoreFailureLeavesAConsistentFileAndARetrySucceeds(t *testing.T) {
	for nth := range 14 {
		for _, errno := range []error{syscall.ENOSPC, syscall.EIO} {
			f, s := newTestFile(t)
			old := pattern(1, 2_000_000)
			writeSynced(t, f, old)
			var n atomic.Int64 // pages are written on all cores at once
			s.fail = func(op string) error {
				if op == "read" {
					return nil
				}
				if n.Add(1) > int64(nth) {
					return errno
				}
				return nil
			}
			p := pattern(2, 2_000_000)
			if _, err := f.WriteAt(p[:1_500_000], 0); err != nil && !errors.Is(err, errno) {
				t.Fatal(err)
			}
			for off := 1_500_000; off < len(p); off += 50_000 {
				if _, err := f.WriteAt(p[off:off+50_000], int64(off)); err != nil && !errors.Is(err, errno) {
					t.Fatal(err)
				}
			}
			if err := f.Sync(); n.Load() > int64(nth) && (!errors.Is(err, errno) || KindOf(err) != KindIO) {
				t.Fatalf("write %d failing: sync returned %v", nth, err)
			}
			s.fail = nil
			checkOldOrNew(t, f, old, p)
			writeSynced(t, f, p)
			wantContent(t, f, p)
			f.Wipe()
			g, err := openTestFile(t, s)
			must(t, err)
			wantContent(t, g, p)
			must(t, g.Verify(nil))
		}
	}
}

// checkOldOrNew fails the test unless each block is either old or new.
func checkOldOrNew(t *testing.T, f *File, a, b []byte) {
	t.Helper()
	got := make([]byte, len(a))
	if n, err := f.ReadAt(got, 0); n != len(a) || err != nil {
		t.Fatalf("after the failure: %d bytes, %v", n, err)
	}
	for i := range got {
		if got[i] != a[i] && got[i] != b[i] {
			t.Fatalf("after the failure: byte %d is neither old nor new", i)
		}
	}
}

func TestWipedFileAnswersClosed(t *testing.T) {
	f, _ := newTestFile(t)
	f.Wipe()
	f.Wipe()
	_, rerr := f.ReadAt(make([]byte, 1), 0)
	_, werr := f.WriteAt(make([]byte, 1), 0)
	_, serr := f.SeekData(0)
	for _, err := range []error{rerr, werr, serr, f.Truncate(1), f.Punch(0, 1), f.Commit(), f.Sync(), f.SetSlotArea(nil), f.Verify(nil)} {
		wantKind(t, err, KindClosed)
	}
}

func TestSlotsOfAnUnsettledFileAreNotRewrittenWithoutTheKey(t *testing.T) {
	f, s := newTestFile(t)
	writeSynced(t, f, pattern(1, 100))
	r, err := ReadRoots(s)
	must(t, err)
	wantKind(t, RewriteSlots(s, r, nil), KindInvalid)
	if r.Settled(func(uint64) bool { return true }) {
		t.Error("settled although its writer ended uncleanly")
	}
	wantKind(t, RewriteSlots(s, r, nil), KindInvalid)
	if !r.Settled(func(uint64) bool { return false }) {
		t.Error("not settled although its writer ended cleanly")
	}
	must(t, RewriteSlots(s, r, []byte("new slots")))
	wantKind(t, RewriteSlots(s, r, make([]byte, MaxSlotArea+1)), KindSlotsFull)
	g, err := openTestFile(t, s)
	must(t, err)
	if string(g.SlotArea()) != "new slots" {
		t.Errorf("slot area %q", g.SlotArea())
	}
	wantContent(t, g, pattern(1, 100))
}

func TestSlotAreaOfAnySizeLeavesTheContent(t *testing.T) {
	f, s := newTestFile(t)
	p := pattern(6, 900_000)
	writeSynced(t, f, p)
	for _, n := range []int{MaxSlotArea, 0, 3000, 1, MaxSlotArea} {
		must(t, f.SetSlotArea(make([]byte, n)))
		must(t, f.Sync())
		f.Wipe()
		var err error
		f, err = openTestFile(t, s)
		must(t, err)
		wantContent(t, f, p)
		if len(f.SlotArea()) != n {
			t.Errorf("slot area of %d bytes, want %d", len(f.SlotArea()), n)
		}
	}
	wantKind(t, f.SetSlotArea(make([]byte, MaxSlotArea+1)), KindSlotsFull)
}
