package fs

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
	"github.com/kmsfs/kmsfs/fs/backing/crashdisk"
)

// A mount that was killed has cancelled a rename and not flushed that. The next one reads the cancel: a power
// loss must not take it back when the directory is gone by which it would be found, and when key slots name it.
func TestPowerLossDoesNotTakeBackACancelThatAMountHasRead(t *testing.T) {
	for point, died := 0, true; died; point++ {
		died = false
		for seed := range uint64(16) {
			c, k := newModel(t, seed)
			ok(t, k.mkdir("a"))
			ok(t, k.fs.moveForTest(t, "a", "b").stageDirs(new([]func())), k.fs.vol.root.SyncFS())
			c.disk.Reboot(false)
			c.disk.DieAfter(point)
			if err := c.mount(); err != nil && !c.disk.Dead() {
				t.Fatal(err)
			}
			died = died || c.disk.Dead()
			c.disk.Reboot(false)
			ok(t, c.mount(), c.k.rmdir("a"), c.k.put("f", "content", true))
			c.disk.Reboot(true)
			ok(t, c.mount())
			if err := c.k.oneOf([]string{"f"}, "content"); err != nil {
				t.Fatalf("died at change %d, seed %d: %v\n%s", point, seed, err, c.daemon.String())
			}
		}
	}
}

// failingSync is a disk whose flushes of content fail while broken is set.
type failingSync struct {
	*crashdisk.Disk
	broken bool
}

func (d *failingSync) Fdatasync(fd int) error {
	if d.broken {
		return syscall.EIO
	}
	return d.Disk.Fdatasync(fd)
}

func TestEntryThatCouldNotBeFlushedIsNotThereForTheNextMount(t *testing.T) {
	disk := &failingSync{Disk: crashdisk.New(rand.New(rand.NewPCG(1, 1)))}
	disk.Root()
	v := testVolume(t, false)
	v.root = backing.NewRoot(disk, 3) // the first descriptor of a disk
	r, err := v.openRenames()
	ok(t, err)
	mustAppend(t, v, r, "/a", "/b")
	disk.broken = true
	if _, err := r.append(v.root, envelope.RenameEntry{Old: "/c", New: "/d"}); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	disk.broken = false
	next, err := v.openRenames()
	ok(t, err)
	if got, want := next.log().Seq(), r.log().Seq(); got != want {
		t.Errorf("the log ends at %d, want %d", got, want)
	}
}
