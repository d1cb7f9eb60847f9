package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// fullDesk is a desk on a filesystem of its own; fill takes the space that is left, and the function
// it returns gives it back.
func fullDesk(t *testing.T) (d *desk, fill func() (free func())) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	d = newDesk(t)
	d.path = filepath.Join(dir, "v.ledger")
	return d, func() func() {
		f, err := os.Create(filepath.Join(dir, "fill"))
		d.must(err)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		d.must(f.Close())
		return func() { d.must(os.Remove(f.Name())) }
	}
}

func TestFullFilesystemStopsNoChangeAndCausesNoFalseAlarm(t *testing.T) {
	for name, after := range map[string]func(d *desk, l *Ledger){
		"kill while it is full": func(*desk, *Ledger) {},
		"checkpoint while it is full": func(d *desk, l *Ledger) {
			if err := l.Checkpoint(func() error { return nil }); !errors.Is(err, syscall.ENOSPC) {
				d.t.Errorf("%v, want ENOSPC", err)
			}
			d.must(l.BeginChange(id(2)))
			l.EndChange(id(2), sumOf(20), true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, fill := fullDesk(t)
			l := d.mount()
			for i := range byte(20) {
				d.use(l, id(i), sumOf(uint64(i)))
			}
			d.must(l.Checkpoint(func() error { return nil }))
			free := fill()
			for i := uint64(0); l.Flush() == nil; i++ {
				l.Durable(id(99), i+1, 1)
			}
			d.change(l, id(1), 10)
			d.change(l, id(2), 11)
			after(d, l)
			d.must(l.Close())
			free()

			l = d.mount()
			d.use(l, id(1), sumOf(1, 10))
			d.use(l, id(3), sumOf(3))
			if _, err := l.Directory(id(2), l.state.dirs[id(2)].sum, false); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatAFullFilesystemDidNotTakeIsWrittenLater(t *testing.T) {
	for _, most := range []uint64{10, 3 * maxQueued / 29} { // the queue is kept, or the file is written anew
		d, fill := fullDesk(t)
		l := d.mount()
		d.use(l, id(1), sumOf(1))
		d.use(l, id(2), sumOf(2))
		d.must(l.Checkpoint(func() error { return nil }))
		free := fill()
		n := uint64(0)
		for l.Flush() == nil {
			n++
			l.Durable(id(99), n, 1)
		}
		for range most {
			n++
			l.Durable(id(99), n, 1)
		}
		d.change(l, id(1), 10)
		if len(l.out) > maxQueued || !l.state.doubted {
			t.Errorf("%d bytes queued, doubted %v", len(l.out), l.state.doubted)
		}
		free()
		d.must(l.Flush())
		if l.state.doubted || l.stale || l.failed {
			t.Error("not settled, although there is space again")
		}
		d.must(l.Close())

		l = d.mount()
		wantViolation(t, l.Opened(id(99), n-1, 1, false))
		d.use(l, id(1), sumOf(1, 10))
		_, err := l.Directory(id(2), sumOf(7), false)
		wantViolation(t, err)
		d.must(l.Close())
	}
}

func TestFileThatWasReplacedBeforeItsLockIsNotTheLedger(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	if !l.current() {
		t.Error("not current, although nothing replaced it")
	}
	old, err := os.Open(d.path)
	d.must(err)
	defer old.Close()
	d.must(l.compact())
	late := &Ledger{path: d.path, f: old}
	if !l.current() || late.current() {
		t.Errorf("the new file %v, the old one %v", l.current(), late.current())
	}
}
