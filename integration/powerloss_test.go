package integration

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crashSeed replays the random part of a crash test; timing is not replayed.
var crashSeed = flag.Uint64("crash-seed", 0, "seed of the crash tests; 0 draws one")

// seed returns the seed of this run and prints it.
func seed(t *testing.T) uint64 {
	s := *crashSeed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("replay with -crash-seed=%d", s)
	return s
}

// crashRounds is how often a test crashes.
func crashRounds(short int) int {
	if *long {
		return 15 * short
	}
	return short
}

// powerRounds is how often the power of each filesystem is cut.
func powerRounds() int {
	if *long {
		return 100
	}
	return 2
}

// volumeOn makes a volume whose store is on d and whose key service is elsewhere.
func volumeOn(t *testing.T, d *disk, flags ...string) *volume {
	t.Helper()
	dir := t.TempDir()
	v := &volume{t: t, State: filepath.Join(dir, "state"), Back: filepath.Join(d.Dir, "back"), Mnt: filepath.Join(dir, "mnt")}
	must(t, os.Mkdir(v.Mnt, 0o755))
	v.kmsfs(append(append([]string{"init"}, flags...), v.Back)...)
	return v
}

// Whatever was fsynced before the power went is there afterwards, the rest is old or new, and
// nothing is unreadable.
func TestPowerLossKeepsWhatWasSynced(t *testing.T) {
	for kind := range diskKinds {
		t.Run(kind, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed(t), 1))
			d := newDisk(t, kind)
			v := volumeOn(t, d)
			v.mount()
			cast := newCast(t, v, rng, 3)
			for range powerRounds() {
				how := rng.Uint32N(3)
				cast.perform(time.Duration(200+rng.IntN(900))*time.Millisecond, func() { d.cutPower(how) })
				v.giveUp()
				d.powerOn()
				v.mount()
				cast.check(t)
			}
		})
	}
}

// giveUp unmounts a volume whose store is gone: that ends, and says that data was lost.
func (v *volume) giveUp() {
	v.t.Helper()
	v.mounted = false
	start := time.Now()
	_, stderr, err := v.try("umount", v.Mnt)
	if err == nil {
		v.t.Errorf("umount over a dead store reports no error: %s", stderr)
	}
	if took := time.Since(start); took > 20*time.Second {
		v.t.Errorf("umount took %v", took)
	}
	unix.Unmount(v.Mnt, unix.MNT_DETACH)
}

// cast is a number of actors at work at once.
type cast []*actor

func newCast(t *testing.T, v *volume, rng *rand.Rand, n int) cast {
	t.Helper()
	var c cast
	for i := range n {
		dir := v.path(fmt.Sprintf("actor%d", i))
		must(t, os.Mkdir(dir, 0o755))
		must(t, fsync(v.Mnt))
		c = append(c, newActor(dir, rng.Uint64()))
	}
	return c
}

// perform lets all act for a while, then crashes under them.
func (c cast) perform(d time.Duration, crash func()) {
	var running sync.WaitGroup
	for _, a := range c {
		running.Go(a.run)
	}
	time.Sleep(d)
	for _, a := range c {
		a.down.Store(true)
	}
	crash()
	for _, a := range c {
		a.stop.Store(true)
	}
	running.Wait()
}

func (c cast) check(t *testing.T) {
	t.Helper()
	for _, a := range c {
		if a.early != nil {
			t.Fatalf("%s: failed before the crash: %v\n%s", filepath.Base(a.root), a.early, a.history())
		}
		a.check(t)
	}
}
