package ledger

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func tag(n uint64) (t Tag) {
	binary.BigEndian.PutUint64(t[8:], n*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(t[:8], n*0xbf58476d1ce4e5b9+1)
	return t
}

func sumOf(names ...uint64) (s Sum) {
	for _, n := range names {
		s.Add(tag(n))
	}
	return s
}

func id(n byte) (i ID) { i[0] = n; return i }

// desk opens one ledger again and again, as mounts do.
type desk struct {
	t    *testing.T
	path string
	boot ID
	next uint64
}

func newDesk(t *testing.T) *desk {
	return &desk{t: t, path: filepath.Join(t.TempDir(), "dir", "v.ledger"), boot: id(0xb0)}
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// mount opens the ledger and begins a mount.
func (d *desk) mount() *Ledger {
	d.t.Helper()
	l, err := Open(Options{Path: d.path, Volume: id(1), Boot: d.boot})
	d.must(err)
	d.t.Cleanup(func() { l.Close() })
	_, err = l.Lineage(d.next)
	d.must(err)
	d.next++
	d.must(l.Start(d.next))
	d.must(l.Started())
	return l
}

// unmount ends a mount cleanly.
func (d *desk) unmount(l *Ledger) {
	d.t.Helper()
	d.must(l.Checkpoint(func() error { return nil }))
	d.must(l.End())
	d.must(l.Close())
}

// use checks a directory and fails the test when that finds a violation.
func (d *desk) use(l *Ledger, dir ID, sum Sum) (relearned bool) {
	d.t.Helper()
	relearned, err := l.Directory(dir, sum, false)
	d.must(err)
	return relearned
}

// change adds an entry to a directory.
func (d *desk) change(l *Ledger, dir ID, added uint64) {
	d.t.Helper()
	d.must(l.BeginChange(dir))
	l.EndChange(dir, sumOf(added), true)
}

func wantViolation(t *testing.T, err error) {
	t.Helper()
	var v *Violation
	if !errors.As(err, &v) {
		t.Fatalf("%v, want a violation", err)
	}
}

func TestSumDependsOnTheSetOnly(t *testing.T) {
	a, b := sumOf(1, 2, 3), sumOf(3, 1, 2)
	if a != b || a == sumOf(1, 2) || a == sumOf(1, 2, 4) {
		t.Error("order counts, or content does not")
	}
	a.Remove(tag(2))
	if a != sumOf(3, 1) {
		t.Error("an entry cannot be taken out")
	}
	a.Remove(tag(1))
	a.Remove(tag(3))
	if a != (Sum{}) {
		t.Error("nothing is left and something remains")
	}
}

func TestDirectoryIsRememberedOverMounts(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	d.use(l, id(1), Sum{})
	d.change(l, id(1), 1)
	d.change(l, id(1), 2)
	d.unmount(l)
	l = d.mount()
	if d.use(l, id(1), sumOf(1, 2)) || !l.Whole(id(1)) {
		t.Error("learned anew, or not whole")
	}
	d.unmount(l)
	for name, sum := range map[string]Sum{"deleted": sumOf(1), "added": sumOf(1, 2, 3), "replaced": sumOf(1, 3), "emptied": {}} {
		t.Run(name, func(t *testing.T) {
			l := d.mount()
			defer d.unmount(l)
			_, err := l.Directory(id(1), sum, false)
			wantViolation(t, err)
		})
	}
}

func TestFileOlderThanRecordedIsAViolation(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	l.Written(id(7), 5, 2)
	l.Written(id(7), 0, 3)
	d.must(l.Opened(id(7), 5, 3, true))
	wantViolation(t, l.Opened(id(7), 4, 3, true))
	d.unmount(l)
	l = d.mount()
	d.must(l.Opened(id(7), 5, 3, true))
	d.must(l.Opened(id(7), 6, 3, true))
	wantViolation(t, l.Opened(id(7), 4, 9, true))
	wantViolation(t, l.Opened(id(7), 9, 2, true))
	wantViolation(t, l.Opened(id(8), 1, 1, true))
	d.must(l.Opened(id(8), 1, 1, false))
	wantViolation(t, l.Opened(id(8), 0, 1, false))
	l.Forgotten(id(7))
	wantViolation(t, l.Opened(id(7), 5, 3, true))
	d.unmount(l)
	l = d.mount()
	wantViolation(t, l.Opened(id(7), 5, 3, true))
}

func TestNewDirectoriesAreKnownAndForeignOnesAreNot(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	l.Made(id(2))
	if !l.Known(id(2)) {
		t.Error("a directory that was just made is not known")
	}
	d.change(l, id(2), 1)
	_, err := l.Directory(id(3), sumOf(1), true)
	wantViolation(t, err)
	d.unmount(l)
	l = d.mount()
	_, err = l.Directory(id(2), sumOf(1), true)
	d.must(err)
	l.Removed(id(2))
	d.unmount(l)
	l = d.mount()
	_, err = l.Directory(id(2), sumOf(1), true)
	wantViolation(t, err)
}

// A checkpoint whose flush fails records nothing, and the next one does.
func TestNothingIsRecordedThatIsNotDurable(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	d.use(l, id(1), Sum{})
	d.change(l, id(1), 1)
	l.Written(id(7), 5, 2)
	bad := errors.New("no flush")
	if err := l.Checkpoint(func() error { return bad }); !errors.Is(err, bad) {
		t.Fatal(err)
	}
	if len(l.state.dirs) > 0 || len(l.state.files) > 0 || !l.Changed() {
		t.Error("recorded without a flush, or forgotten")
	}
	d.must(l.Checkpoint(func() error {
		d.change(l, id(1), 2)               // while the store is flushed: it is not known whether that is durable
		d.must(l.Opened(id(7), 5, 2, true)) // taken, not recorded yet, and known all the same
		wantViolation(t, l.Opened(id(7), 4, 2, true))
		l.Written(id(7), 6, 2)
		return nil
	}))
	if dir := l.state.dirs[id(1)]; !dir.flux || l.state.files[id(7)].seq != 5 {
		t.Error("what changed during the flush is recorded")
	}
	d.unmount(l)
	if l.state.dirs[id(1)].sum != sumOf(1, 2) || l.state.files[id(7)].seq != 6 {
		t.Error("not recorded at last")
	}
}

func TestKilledMountCausesNoFalseAlarm(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	for i := range byte(3 * maxMarks) {
		d.use(l, id(i), Sum{})
		d.change(l, id(i), 1)
	}
	d.use(l, id(100), sumOf(9))
	d.unmount(l)
	l = d.mount()
	for i := range byte(2 * maxMarks) {
		d.use(l, id(i), sumOf(1))
		d.change(l, id(i), 2)
	}
	d.must(l.Close()) // killed in the same boot: the store may have either, the marks are exact
	l = d.mount()
	for i := range byte(2 * maxMarks) {
		if relearned := d.use(l, id(i), sumOf(1, 2)); !relearned {
			t.Errorf("directory %d changed and is not learned anew", i)
		}
	}
	_, err := l.Directory(id(2*maxMarks), sumOf(1, 2), false)
	wantViolation(t, err)
	d.unmount(l)
}

// After a power cut only the durable marks are certain: more than a few make all directories suspect,
// and they stay so until they are learned anew.
func TestPowerCutCausesNoFalseAlarm(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	for i := range byte(40) {
		d.use(l, id(i), Sum{})
	}
	d.unmount(l)
	l = d.mount()
	for i := range byte(maxMarks) {
		d.use(l, id(i), Sum{})
		d.change(l, id(i), 1)
	}
	d.must(l.Close())
	d.boot = id(0xb1)
	l = d.mount()
	_, err := l.Directory(id(maxMarks), sumOf(1), false)
	wantViolation(t, err) // few marks are exact
	for i := range byte(3 * maxMarks) {
		if i != maxMarks {
			d.use(l, id(i), Sum{})
			d.change(l, id(i), 1)
		}
	}
	d.must(l.Close())
	d.boot = id(0xb2)
	l = d.mount()
	if !d.use(l, id(39), sumOf(1)) {
		t.Error("many marks did not make all directories suspect")
	}
	d.unmount(l)
	l = d.mount()
	if !d.use(l, id(38), sumOf(1)) {
		t.Error("a directory that nobody has looked at since is not suspect any more")
	}
	_, err = l.Directory(id(39), sumOf(2), false)
	wantViolation(t, err)
}

func TestChangeThatFailedHalfWayIsLearnedAnew(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	d.use(l, id(1), sumOf(1))
	d.unmount(l)
	l = d.mount()
	d.use(l, id(1), sumOf(1))
	d.must(l.BeginChange(id(1)))
	l.EndChange(id(1), sumOf(2), false)
	d.unmount(l)
	l = d.mount()
	if !d.use(l, id(1), sumOf(1, 2)) {
		t.Error("not learned anew")
	}
}

// A checkpoint that finds a new directory busy records the directory above, and not the new one.
func TestNewDirectoryThatIsBusyDuringACheckpointIsKnownLater(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	d.use(l, id(2), Sum{})
	d.must(l.BeginChange(id(2)))
	l.Made(id(3))
	l.EndChange(id(2), sumOf(3), true)
	d.must(l.Checkpoint(func() error { d.change(l, id(3), 4); return nil }))
	d.must(l.Close())

	l = d.mount()
	if d.use(l, id(2), sumOf(3)); !l.Whole(id(2)) {
		t.Fatal("the directory above was not recorded")
	}
	_, err := l.Directory(id(3), sumOf(4), true)
	d.must(err)
	_, err = l.Directory(id(5), sumOf(4), true)
	wantViolation(t, err)
}

func TestLogThatEndsAnywhereInACheckpointCausesNoFalseAlarm(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	d.use(l, id(2), Sum{})
	d.must(l.BeginChange(id(2)))
	l.Made(id(3))
	l.EndChange(id(2), sumOf(3), true)
	l.mu.Lock()
	l.announce()
	queued := l.out
	l.mu.Unlock()
	if _, rest := split(queued); len(rest) > 0 || len(l.state.dirs) != 2 || !l.state.dirs[id(2)].flux || !l.state.dirs[id(3)].flux {
		t.Errorf("before any is recorded as whole: %+v", l.state.dirs)
	}
	d.must(l.Checkpoint(func() error { return nil }))
	if l.state.dirs[id(2)].flux || l.state.dirs[id(3)].flux {
		t.Errorf("after the checkpoint: %+v", l.state.dirs)
	}
}

func TestNewDirectoryInWhichAChangeFailedIsLearnedAnew(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	d.use(l, id(2), Sum{})
	d.must(l.BeginChange(id(2)))
	l.Made(id(3))
	l.EndChange(id(2), sumOf(3), true)
	d.must(l.BeginChange(id(3)))
	l.EndChange(id(3), Sum{}, false)
	if !l.Changed() {
		t.Error("nothing to record")
	}
	if l.Known(id(3)) {
		t.Error("known, although it is not certain what a change has done")
	}
	d.unmount(l)

	l = d.mount()
	d.use(l, id(2), sumOf(3))
	_, err := l.Directory(id(3), sumOf(8), l.Whole(id(2)))
	d.must(err)
	d.unmount(l)
	l = d.mount()
	d.use(l, id(2), sumOf(3))
	_, err = l.Directory(id(3), sumOf(9), true)
	wantViolation(t, err)
}

func TestDirectoryInDoubtIsLearnedAnewInTheSameMount(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	l.Made(id(3))
	d.must(l.BeginChange(id(3)))
	l.EndChange(id(3), Sum{}, false)
	d.must(l.BeginChange(id(3))) // another change is under way: too early
	_, err := l.Directory(id(3), sumOf(8), true)
	d.must(err)
	if l.Known(id(3)) {
		t.Error("known in the middle of a change")
	}
	l.EndChange(id(3), sumOf(9), true)
	_, err = l.Directory(id(3), sumOf(8, 9), true)
	d.must(err)
	if !l.Known(id(3)) {
		t.Error("not learned")
	}
	d.unmount(l)
	l = d.mount()
	_, err = l.Directory(id(3), sumOf(8), false)
	wantViolation(t, err)
}

func TestMountsTellAnEarlierStoreFromALaterOne(t *testing.T) {
	d := newDesk(t)
	d.unmount(d.mount())
	d.unmount(d.mount())
	l, err := Open(Options{Path: d.path, Volume: id(1), Boot: d.boot})
	d.must(err)
	d.use(l, id(1), sumOf(1))
	for _, last := range []uint64{0, 1} {
		_, err := l.Lineage(last)
		wantViolation(t, err)
	}
	if elsewhere, err := l.Lineage(99); !elsewhere || err != nil {
		t.Errorf("a mount elsewhere: %v, %v", elsewhere, err)
	}
	if elsewhere, err := l.Lineage(2); elsewhere || err != nil {
		t.Errorf("the last mount: %v, %v", elsewhere, err)
	}
	d.must(l.Start(3))
	for _, last := range []uint64{2, 3} { // it is not certain that the store has it
		if elsewhere, err := l.Lineage(last); elsewhere || err != nil {
			t.Errorf("last %d while 3 begins: %v, %v", last, elsewhere, err)
		}
	}
	d.must(l.Started())
	_, err = l.Lineage(2)
	wantViolation(t, err)
	d.must(l.Close())
}

// A mount begins in the ledger before it does in the store, which may be full or read-only.
func TestMountsThatCouldNotBeginCauseNoFalseAlarm(t *testing.T) {
	for _, first := range []uint64{0, 1} {
		d := newDesk(t)
		begin := func(last uint64) (*Ledger, error) {
			l, err := Open(Options{Path: d.path, Volume: id(1), Boot: d.boot})
			d.must(err)
			_, err = l.Lineage(last)
			return l, err
		}
		if first > 0 {
			d.unmount(d.mount())
		}
		for m := uint64(10); m < 15; m++ {
			l, err := begin(first)
			if err != nil {
				t.Fatalf("attempt %d, last %d: %v", m, first, err)
			}
			d.must(l.Start(m))
			d.must(l.Close())
		}
		l, err := begin(14) // the last one came so far, and was killed then
		d.must(err)
		d.must(l.Start(15))
		d.must(l.Started())
		d.must(l.Close())
		for _, last := range []uint64{first, 12, 14} {
			l, err := begin(last)
			wantViolation(t, err)
			d.must(l.Close())
		}
	}
}

func TestOlderRenameLogOrVolumeFileIsAViolation(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	l.RenamesDurable(3, tag(3))
	d.must(l.VolumeFile(tag(10)))
	d.must(l.VolumeFile(tag(11)))
	d.unmount(l)
	l = d.mount()
	log := func(n uint64) func(uint64) (Tag, bool) {
		return func(seq uint64) (Tag, bool) { return tag(seq), seq <= n }
	}
	d.must(l.Renames(log(3), 3, 0))
	d.must(l.Renames(log(9), 9, 0))
	d.must(l.Renames(log(0), 9, 3)) // retired
	wantViolation(t, l.Renames(log(2), 2, 0))
	wantViolation(t, l.Renames(func(seq uint64) (Tag, bool) { return tag(seq + 1), true }, 9, 0))
	d.must(l.VolumeFile(tag(11)))
	wantViolation(t, l.VolumeFile(tag(10)))
	d.must(l.VolumeFile(tag(12)))
	wantViolation(t, l.VolumeFile(tag(11)))
}

func TestLedgerOfAnotherVolumeOrInUseIsRefused(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	if _, err := Open(Options{Path: d.path, Volume: id(1)}); !errors.Is(err, ErrInUse) {
		t.Errorf("in use: %v", err)
	}
	d.unmount(l)
	if _, err := Open(Options{Path: d.path, Volume: id(2)}); !errors.Is(err, errForeign) {
		t.Errorf("of another volume: %v", err)
	}
	if l, err := Open(Options{Path: filepath.Join(t.TempDir(), "none"), Volume: id(2), ReadOnly: true}); err != nil || !l.Empty() {
		t.Errorf("none, to look at: %v", err)
	}
}

func TestReaderChangesNothing(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	d.use(l, id(1), sumOf(1))
	d.unmount(l)
	before, err := os.ReadFile(d.path)
	d.must(err)
	r, err := Open(Options{Path: d.path, Volume: id(1), Boot: d.boot, ReadOnly: true})
	d.must(err)
	_, err = r.Directory(id(1), sumOf(2), false)
	wantViolation(t, err)
	d.use(r, id(2), sumOf(1))
	d.must(r.Checkpoint(func() error { t.Error("flushed"); return nil }))
	d.must(errors.Join(r.Flush(), r.End(), r.Close()))
	after, err := os.ReadFile(d.path)
	if err != nil || string(before) != string(after) {
		t.Error("a reader changed the ledger")
	}
}

func TestNilLedgerRemembersNothing(t *testing.T) {
	var l *Ledger
	relearned, err := l.Directory(id(1), Sum{}, true)
	if relearned || err != nil || l.Opened(id(1), 0, 0, true) != nil || l.BeginChange(id(1)) != nil || l.Changed() || l.Path() != "" {
		t.Error("a nil ledger finds something wrong")
	}
	l.Written(id(1), 1, 1)
	l.Durable(id(1), 1, 1)
	l.EndChange(id(1), Sum{}, true)
	l.Made(id(1))
	l.Removed(id(1))
	l.Forgotten(id(1))
	if errors.Join(l.Start(1), l.Started(), l.Checkpoint(nil), l.End(), l.Close(), l.Flush(), l.VolumeFile(Tag{}), l.Renames(nil, 0, 0)) != nil {
		t.Error("a nil ledger fails")
	}
}
