package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// victim is a settled file of 100 blocks, and what an attacker can do to its store.
type victim struct {
	t     *testing.T
	store *memStore
	want  []byte
}

func newVictim(t *testing.T) *victim {
	f, s := newTestFile(t)
	want := pattern(9, 120*PageSize+500)
	must(t, f.SetSlotArea(make([]byte, 2500))) // few root entries, so that there are tag pages
	writeSynced(t, f, want)
	f.Wipe()
	return &victim{t: t, store: s, want: want}
}

// rewrite opens the file, changes all of it, and syncs.
func (v *victim) rewrite(seed byte) {
	f, err := openTestFile(v.t, v.store)
	must(v.t, err)
	v.want = pattern(seed, len(v.want))
	writeSynced(v.t, f, v.want)
	f.Wipe()
}

func (v *victim) page(i int) []byte { return v.store.b[i*PageSize : (i+1)*PageSize] }

// newestPage returns the newest root page.
func (v *victim) newestPage() []byte {
	r, err := ReadRoots(v.store)
	must(v.t, err)
	return v.page(r.newest)
}

// read opens and reads the whole file and returns the first error; it fails the test when bytes
// come back that the file never held there.
func (v *victim) read(versions ...[]byte) error {
	v.t.Helper()
	f, err := openTestFile(v.t, v.store)
	if err != nil {
		return err
	}
	defer f.Wipe()
	got := make([]byte, len(v.want)+PageSize)
	n, err := f.ReadAt(got, 0)
	for _, want := range append(versions, v.want) {
		if n <= len(want) && bytes.Equal(got[:n], want[:n]) {
			return err
		}
	}
	v.t.Fatalf("wrong bytes returned (%d, %v)", n, err)
	return nil
}

// wantCorrupt fails the test unless reading reports corruption.
func (v *victim) wantCorrupt() {
	v.t.Helper()
	wantKind(v.t, v.read(), KindCorrupt)
}

// reseal recomputes the checksum of a root page, which any attacker can.
func reseal(page []byte) { sealChecksum((*[PageSize]byte)(page)) }

func TestAttackBitFlipInAnyPageIsDetected(t *testing.T) {
	v := newVictim(t)
	for i := firstPage; i < v.store.pages(); i++ {
		for _, off := range []int{0, 63, 64, 2000, PageSize - 1} {
			v.page(i)[off] ^= 0x40
			v.wantCorrupt()
			v.page(i)[off] ^= 0x40
		}
	}
	must(t, v.read())
}

func TestAttackBitFlipInTheNewestRootNeverYieldsWrongBytes(t *testing.T) {
	v := newVictim(t)
	old := v.want
	v.rewrite(1)
	root := v.newestPage()
	keep := bytes.Clone(root)
	for off := range PageSize {
		for _, fix := range []bool{false, true} {
			root[off] ^= 1 << (off % 8)
			if fix {
				reseal(root)
			}
			older := off < len(rootMagic) || off >= offSequence && off < offMount // hides this root: as a whole old file
			inSlots := off >= headerSize && off < headerSize+2500 || off >= offStat && off < offZero || off >= offAreaLen && off < offBodyLen
			if err := v.read(old); err == nil && !bytes.Equal(root, keep) && fix && !inSlots && !older {
				t.Errorf("flip in byte %d of the root went unnoticed", off)
			}
			copy(root, keep)
		}
	}
}

func TestAttackResealedRootBodyIsDetected(t *testing.T) {
	v := newVictim(t)
	for _, off := range []int{offVolume, offSequence, offMount, offRootSalt, offStat, bodyEnd - 40, bodyEnd - 1, bodyEnd, PageSize - 1} {
		root := v.newestPage()
		root[off] ^= 1
		reseal(root)
		v.wantCorrupt()
		root[off] ^= 1
		reseal(root)
	}
}

func TestAttackSwappedBlocksAreDetected(t *testing.T) {
	v := newVictim(t)
	a, b := bytes.Clone(v.page(5)), bytes.Clone(v.page(6))
	copy(v.page(5), b)
	copy(v.page(6), a)
	v.wantCorrupt()
}

func TestAttackReplayedPageIsDetected(t *testing.T) {
	v := newVictim(t)
	old := bytes.Clone(v.store.b)
	v.rewrite(1)
	v.rewrite(2) // recycles the pages of the first version
	now := bytes.Clone(v.store.b)
	replayed := 0
	for i := firstPage; i < min(len(old), len(now))/PageSize; i++ {
		if bytes.Equal(old[i*PageSize:(i+1)*PageSize], now[i*PageSize:(i+1)*PageSize]) {
			continue
		}
		copy(v.page(i), old[i*PageSize:])
		if err := v.read(); err != nil {
			wantKind(t, err, KindCorrupt)
			replayed++
		}
		copy(v.page(i), now[i*PageSize:])
	}
	if replayed < 100 {
		t.Errorf("only %d of the pages were in use", replayed)
	}
}

func TestAttackReplayedRootIsDetectedOrAWholeOldFile(t *testing.T) {
	v := newVictim(t)
	first := bytes.Clone(v.store.b)
	firstWant := v.want
	v.rewrite(1)
	v.rewrite(2)
	v.rewrite(3)
	for slot := range 2 {
		keep := bytes.Clone(v.store.b)
		copy(v.page(slot), first[slot*PageSize:(slot+1)*PageSize])
		copy(v.page(1-slot), make([]byte, PageSize))
		if err := v.read(firstWant); err == nil {
			t.Errorf("old root in slot %d with new pages reads without error", slot)
		}
		v.store.b = keep
	}
	v.store.b = first // the format alone can't tell this from the current file
	must(t, v.read(firstWant))
}

func TestAttackRollbackBehindTheKnownSequenceIsDetected(t *testing.T) {
	v := newVictim(t)
	old := bytes.Clone(v.store.b)
	v.rewrite(1)
	r, err := ReadRoots(v.store)
	must(t, err)
	known := Trust{Settled: true, DurableSeq: r.Newest().Sequence}
	v.store.b = old
	r, err = ReadRoots(v.store)
	must(t, err)
	_, err = OpenFile(optionsFor(t, v.store), r, known)
	wantKind(t, err, KindCorrupt)
}

func TestAttackTruncationIsDetected(t *testing.T) {
	for _, pages := range []int{0, 1, 2, 3, 50, 100} {
		v := newVictim(t)
		v.store.b = v.store.b[:pages*PageSize]
		err := v.read()
		if pages == 0 {
			wantKind(t, err, KindTruncated)
		} else if err == nil {
			t.Errorf("%d pages left: read without error", pages)
		}
	}
	for _, n := range []int{1, 100, PageSize - 1} {
		v := newVictim(t)
		v.store.b = v.store.b[:n]
		wantKind(t, v.read(), KindTruncated)
	}
}

func TestAttackZeroedPagesAreNotHoles(t *testing.T) {
	v := newVictim(t)
	for i := firstPage; i < v.store.pages(); i++ {
		keep := bytes.Clone(v.page(i))
		clear(v.page(i))
		v.wantCorrupt()
		copy(v.page(i), keep)
	}
	clear(v.store.b)
	wantKind(t, v.read(), KindTruncated)
}

func TestAttackExtensionChangesNothing(t *testing.T) {
	v := newVictim(t)
	v.store.b = append(v.store.b, pattern(1, 10*PageSize)...)
	must(t, v.read())
}

func TestAttackPagesOfAnotherFileAreDetected(t *testing.T) {
	v, w := newVictim(t), &memStore{}
	f, err := CreateFile(optionsFor(t, w), VolumeID{1}, FileID{3}, make([]byte, 2500), 0)
	must(t, err)
	writeSynced(t, f, v.want) // same key, same content, other file id
	f.Wipe()
	for i := firstPage; i < v.store.pages(); i++ {
		keep := bytes.Clone(v.page(i))
		copy(v.page(i), w.b[i*PageSize:])
		v.wantCorrupt()
		copy(v.page(i), keep)
	}
	r, err := ReadRoots(w)
	must(t, err)
	root := bytes.Clone(v.newestPage())
	copy(v.newestPage(), w.b[r.newest*PageSize:])
	if err := v.read(); err == nil {
		t.Error("root of another file reads without error")
	}
	copy(v.newestPage(), root)
}

func TestAttackKeyOfAnotherFileIsTheWrongKey(t *testing.T) {
	v := newVictim(t)
	r, err := ReadRoots(v.store)
	must(t, err)
	for _, settled := range []bool{true, false} {
		o := optionsFor(t, v.store)
		o.Key = dataKeyOf(t, 8)
		_, err = OpenFile(o, r, Trust{Settled: settled})
		wantKind(t, err, KindWrongKey)
	}
}

func TestAttackDamagedNewerRootOfASettledFileIsDetected(t *testing.T) {
	v := newVictim(t)
	v.rewrite(1)
	v.newestPage()[bodyEnd-30] ^= 1 // checksum left wrong, header readable
	wantKind(t, v.read(), KindCorrupt)
}

func TestAttackDowngradeIsRefused(t *testing.T) {
	for _, c := range []struct {
		off  int
		want Kind
	}{{7, KindUnsupported}, {offSuite, KindUnsupported}, {offFlags, KindUnsupported}, {0, KindCorrupt}, {offZero, KindCorrupt}} {
		v := newVictim(t)
		for slot := range 2 {
			v.page(slot)[c.off] ^= 2
			reseal(v.page(slot))
		}
		wantKind(t, v.read(), c.want)
	}
}

func TestAttackHeaderFieldsOutOfRangeAreRefused(t *testing.T) {
	for _, off := range []int{offAreaLen + 1, offBodyLen, offBodyLen + 1, offSequence + 7} {
		v := newVictim(t)
		for slot := range 2 {
			v.page(slot)[off] ^= 0xff
			reseal(v.page(slot))
		}
		if err := v.read(); KindOf(err) != KindCorrupt && KindOf(err) != KindTruncated {
			t.Errorf("field at %d: %v", off, err)
		}
	}
}

func TestVerifyReportsEachDamagedBlockAndGoesOn(t *testing.T) {
	v := newVictim(t)
	f, err := openTestFile(t, v.store)
	must(t, err)
	var hit []int64
	for _, block := range []uint64{3, 4, 77, 119} {
		c := cursor{f: f, op: "test"}
		e, err := c.entry(block)
		must(t, err)
		v.page(int(e.page))[100] ^= 1
		hit = append(hit, int64(block))
	}
	var got []int64
	err = f.Verify(func(block int64, err error) {
		wantKind(t, err, KindCorrupt)
		got = append(got, block)
	})
	wantKind(t, err, KindCorrupt)
	if fmt.Sprint(got) != fmt.Sprint(hit) {
		t.Errorf("reported blocks %v, damaged %v", got, hit)
	}
}

func TestReadReturnsWhatPrecedesADamagedBlock(t *testing.T) {
	v := newVictim(t)
	f, err := openTestFile(t, v.store)
	must(t, err)
	c := cursor{f: f, op: "test"}
	e, err := c.entry(70)
	must(t, err)
	v.page(int(e.page))[0] ^= 1
	p := bytes.Repeat([]byte{0xaa}, len(v.want))
	n, err := f.ReadAt(p, 0)
	wantKind(t, err, KindCorrupt)
	if n != 70*PageSize || !bytes.Equal(p[:n], v.want[:n]) || !allZero(p[n:]) {
		t.Errorf("%d bytes returned before block 70; rest zero: %v", n, allZero(p[n:]))
	}
	if e := new(Error); !errors.As(err, &e) || e.Block != 70 {
		t.Errorf("error names block %d, want 70: %v", e.Block, err)
	}
	must(t, f.Truncate(0)) // a damaged file can be emptied
	must(t, f.Sync())
	must(t, f.Verify(nil))
}
