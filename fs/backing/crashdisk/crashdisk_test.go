package crashdisk_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing"
	"github.com/kmsfs/kmsfs/fs/backing/crashdisk"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// crashes tries what a sequence of calls leaves, over many seeds.
func crashes(t *testing.T, calls func(root *backing.Dir), after func(root *backing.Dir)) {
	t.Helper()
	for seed := range uint64(300) {
		d := crashdisk.New(rand.New(rand.NewPCG(seed, 0)))
		calls(d.Root())
		d.Reboot(true)
		after(d.Root())
	}
}

func has(d *backing.Dir, name string) bool {
	var st unix.Stat_t
	return d.Stat(name, &st) == nil
}

func create(t *testing.T, d *backing.Dir, name string, size int) *backing.File {
	t.Helper()
	f, err := d.Create(name, 0o600)
	ok(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{1}, size), 0)
	ok(t, err)
	return f
}

func TestNamesSurviveInTheOrderOfTheirChanges(t *testing.T) {
	some, all := 0, 0
	crashes(t, func(root *backing.Dir) {
		ok(t, root.Mkdir("a", 0o700))
		ok(t, root.Symlink("target", "b"))
		ok(t, root.SetXattr("a", "user.x", []byte("v"), 0))
		ok(t, root.Rename("b", root, "c", 0))
	}, func(root *backing.Dir) {
		a, b, c := has(root, "a"), has(root, "b"), has(root, "c")
		_, err := root.GetXattr("a", "user.x", make([]byte, 8))
		if (b || c) && !a || c && err != nil || b && c {
			t.Errorf("a %v, b %v, c %v, attribute %v", a, b, c, err)
		}
		if a {
			some++
		}
		if c {
			all++
		}
	})
	if some == all || all == 0 {
		t.Errorf("%d and %d of 300", some, all)
	}
}

func TestPagesSurviveInAnyCombination(t *testing.T) {
	seen := map[[2]bool]int{}
	torn := 0
	crashes(t, func(root *backing.Dir) {
		f := create(t, root, "f", 3*4096)
		ok(t, f.Sync())
		_, err := f.WriteAt(bytes.Repeat([]byte{2}, 2*4096), 0)
		ok(t, err)
	}, func(root *backing.Dir) {
		f, err := root.Open("f", true)
		ok(t, err)
		b := make([]byte, 3*4096)
		_, err = f.ReadAt(b, 0)
		ok(t, err)
		var whole [2]bool
		for i := range whole {
			twos := bytes.Count(b[i*4096:(i+1)*4096], []byte{2})
			whole[i] = twos == 4096
			if twos%512 != 0 {
				t.Errorf("torn within a sector: %d", twos)
			}
			if twos > 0 && twos < 4096 {
				torn++
			}
		}
		if bytes.Count(b[2*4096:], []byte{1}) != 4096 {
			t.Error("a page that was flushed is lost")
		}
		seen[whole]++
	})
	if len(seen) != 4 || torn == 0 {
		t.Errorf("combinations %v, %d torn", seen, torn)
	}
}

// Growth is metadata: a file that is longer shows that what was journaled before is there.
func TestGrowthComesAfterWhatWasJournaledBefore(t *testing.T) {
	grown := 0
	crashes(t, func(root *backing.Dir) {
		f := create(t, root, "f", 100)
		ok(t, f.Sync())
		ok(t, root.Mkdir("before", 0o700))
		_, err := f.WriteAt([]byte{1}, 5000)
		ok(t, err)
	}, func(root *backing.Dir) {
		f, err := root.Open("f", true)
		ok(t, err)
		size, err := f.Size()
		ok(t, err)
		if size > 100 {
			grown++
			if !has(root, "before") {
				t.Error("the file has grown, the directory is not there")
			}
		}
	})
	if grown == 0 {
		t.Error("the file never grew")
	}
}

func TestFlushesKeepWhatTheyPromise(t *testing.T) {
	crashes(t, func(root *backing.Dir) {
		ok(t, root.Mkdir("d", 0o700))
		f := create(t, root, "f", 5000)
		ok(t, f.Sync()) // fdatasync(2)
		ok(t, f.SetXattr("user.x", []byte("v"), 0))
		f.WantAll()
		ok(t, f.Sync()) // fsync(2)
		ok(t, root.Mkdir("e", 0o700))
		ok(t, root.SyncFS())
		ok(t, f.Truncate(10))
		ok(t, f.Sync())
	}, func(root *backing.Dir) {
		f, err := root.Open("f", true)
		ok(t, err)
		size, _ := f.Size()
		_, err = f.GetXattr("user.x", make([]byte, 8))
		if size != 10 || err != nil || !has(root, "d") || !has(root, "e") {
			t.Errorf("size %d, attribute %v, d %v, e %v", size, err, has(root, "d"), has(root, "e"))
		}
	})
}

// A disk fails every call from the one on at which it dies; without a power loss all that was done is there.
func TestDiskDiesAtTheCallThatItWasToldTo(t *testing.T) {
	d := crashdisk.New(rand.New(rand.NewPCG(1, 0)))
	root := d.Root()
	d.DieAfter(2)
	ok(t, root.Mkdir("a", 0o700))
	ok(t, root.Mkdir("b", 0o700))
	for _, name := range []string{"c", "d"} {
		if err := root.Mkdir(name, 0o700); !errors.Is(err, unix.EIO) || !d.Dead() {
			t.Fatalf("%s: %v, dead %v", name, err, d.Dead())
		}
	}
	d.Reboot(false)
	if root = d.Root(); !has(root, "a") || !has(root, "b") || has(root, "d") {
		t.Error("not what was there")
	}
}
