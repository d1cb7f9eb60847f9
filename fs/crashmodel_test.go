package fs

import (
	"bytes"
	"context"
	"errors"
	goflag "flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing/crashdisk"
)

var (
	crashSeed = goflag.Uint64("crash.seed", 0, "first seed of the crash model, 0: from the clock")
	crashRuns = goflag.Int("crash.runs", 0, "number of crashes of the crash model, 0: KMSFS_CRASH_RUNS or a short run")
)

// crashRun is one run of the model: a volume on a disk that crashes under random operations.
type crashRun struct {
	r    *rand.Rand
	disk *crashdisk.Disk
	keys KeyService
	k    *kernel
	log  *slog.Logger

	now     *world   // the tree as it should be
	past    []*world // those that a power loss may bring back, the durable one first
	ops     int
	synced  int // operation up to which everything is durable
	named   int
	handles []*modelHandle

	events  []string
	daemon  bytes.Buffer // log of the volume
	crashes int
}

// modelHandle is an open file and what the model knows of it.
type modelHandle struct {
	f *opened
	o *modelObject
}

func newCrashRun(seed uint64, keys KeyService) *crashRun {
	r := rand.New(rand.NewPCG(seed, 0))
	c := &crashRun{r: r, keys: keys, disk: crashdisk.New(rand.New(rand.NewPCG(seed, 1)))}
	c.log = slog.New(slog.NewTextHandler(&c.daemon, nil))
	c.now = &world{names: map[string]*modelObject{"": {kind: unix.S_IFDIR}}, attrs: map[*modelObject]string{}}
	c.past = []*world{c.now}
	return c
}

func (c *crashRun) note(format string, a ...any) {
	c.events = append(c.events, fmt.Sprintf(format, a...))
}

// init makes the volume, at times on a disk that dies meanwhile; a volume is whole or not there.
func (c *crashRun) init() error {
	for {
		if c.r.IntN(4) == 0 {
			c.disk.DieAfter(c.r.IntN(16))
		}
		err := c.makeVolume()
		c.disk.DieAfter(-1)
		if err != nil && !c.disk.Dead() {
			return fmt.Errorf("init: %w", err)
		}
		c.note("init: %v", err)
		if err != nil || c.r.IntN(4) == 0 {
			c.crashes++
			c.disk.Reboot(c.r.IntN(3) > 0)
		}
		mountErr := c.mount()
		if mountErr == nil {
			return nil
		}
		if kindOf(mountErr) != KindNotVolume || err == nil {
			return fmt.Errorf("mount after init (%v): %w", err, mountErr)
		}
		c.disk = crashdisk.New(rand.New(rand.NewPCG(c.r.Uint64(), 1))) // what is left is not empty: init would refuse
	}
}

func (c *crashRun) makeVolume() error {
	vf, crypto, err := newVolumeFile(context.Background(), &InitOptions{
		Keys: c.keys, KeyID: modelARN, VolumeID: NewVolumeID(), PlaintextNames: c.r.IntN(4) == 0, Compress: c.r.IntN(2) == 0,
	})
	if err != nil {
		return err
	}
	defer crypto.Wipe()
	root := c.disk.Root()
	defer root.Close()
	return writeVolumeIn(root, vf, crypto)
}

func (c *crashRun) mount() error {
	k, err := mountModel(c.disk, c.keys, c.log)
	if err == nil {
		c.k = k
	}
	return err
}

// step does one random operation.
func (c *crashRun) step() error {
	for {
		done, err := actions[c.r.IntN(len(actions))](c)
		if c.r.IntN(2) == 0 {
			c.k.forget()
		}
		if done || err != nil {
			return err
		}
	}
}

// life is one mount from a crash to the next.
func (c *crashRun) life() error {
	most := 60
	if c.r.IntN(3) == 0 {
		most = 8
	}
	c.disk.DieAfter(c.r.IntN(most))
	for n := 3 + c.r.IntN(20); n > 0 && !c.disk.Dead(); n-- {
		if err := c.step(); err != nil && !c.disk.Dead() {
			return err
		}
	}
	return c.recover()
}

// recover crashes, mounts again and checks, over again when the disk dies meanwhile.
func (c *crashRun) recover() error {
	power := false
	c.handles = nil
	for again := 0; ; again++ {
		off := c.r.IntN(3) > 0
		power = power || off
		c.crashes++
		c.note("crash, power %v", off)
		c.disk.Reboot(off)
		if err := c.fsck(); err != nil {
			return err
		}
		if again < 11 && c.r.IntN(4) == 0 {
			c.disk.DieAfter(c.r.IntN(30))
		}
		saw, err := c.look()
		if c.disk.Dead() {
			continue
		}
		c.disk.DieAfter(-1)
		if err != nil {
			return err
		}
		return c.check(saw, power)
	}
}

// fsck checks the volume at times, and at times repairs it: no crash may look like damage, and no repair may
// take away what the next mount needs.
func (c *crashRun) fsck() error {
	if c.r.IntN(4) > 0 {
		return nil
	}
	v := &volume{root: c.disk.Root(), keys: c.keys, log: c.log, ro: true}
	v.root.Freeze()
	defer v.close()
	if err := v.open(context.Background(), &MountOptions{Backing: "/"}); err != nil {
		return fmt.Errorf("fsck: %w", err)
	}
	var damage error
	k := &checker{seen: map[uint64]bool{}, CheckOptions: CheckOptions{Workers: 1, Repair: c.r.IntN(2) == 0, Progress: func(int, int64) {},
		Report: func(f Fault) {
			c.note("fsck: %s, repaired %v", f.String(), f.Repaired)
			if f.Class != FaultOrphan {
				damage = errors.Join(damage, errors.New("fsck: "+f.String()))
			}
		}}}
	if err := k.begin(v, &MountOptions{Logger: c.log, NoWriteback: true, ReadOnly: true}); err != nil {
		return fmt.Errorf("fsck: %w", err)
	}
	return errors.Join(k.run(context.Background(), v), damage)
}

// look mounts and reads everything.
func (c *crashRun) look() (map[string]sighting, error) {
	if err := c.mount(); err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	return c.k.survey()
}

// check compares what was found with what may be there, and goes on from it. A state in which all names of a
// file lead to it comes first: empty files that changed places look alike otherwise.
func (c *crashRun) check(saw map[string]sighting, power bool) error {
	delete(saw, "")
	if c.goOn(saw, power, false) == nil {
		return nil
	}
	return c.goOn(saw, power, true)
}

// goOn goes on from the newest state that explains saw.
func (c *crashRun) goOn(saw map[string]sighting, power, apart bool) error {
	var why []string
	for i := len(c.past) - 1; i >= 0; i-- {
		w := c.past[i].clone()
		root := w.names[""]
		delete(w.names, "")
		problem := w.explains(saw, power, apart)
		if problem == "" {
			w.names[""] = root
			c.note("found as after %d of %d", w.op, c.ops)
			c.adopt(w, saw, power)
			return nil
		}
		why = append(why, fmt.Sprintf("not as after %d: %s", c.past[i].op, problem))
		if !power && i < len(c.past)-1 {
			break // a kill takes back at most the operation under way
		}
	}
	return fmt.Errorf("neither old nor new:\n%s", strings.Join(why, "\n"))
}

// run does the whole run.
func (c *crashRun) run() error {
	if err := c.init(); err != nil {
		return err
	}
	for range 1 + c.r.IntN(12) {
		if err := c.life(); err != nil {
			return err
		}
	}
	return nil
}

func (c *crashRun) report(seed uint64, err error) string {
	if c.k != nil {
		for _, e := range c.k.fs.renames.log().Entries() {
			c.note("rename log %d: %q %q, exchange %v, cancel %v", e.Seq, e.Old, e.New, e.Exchange, e.Cancel)
		}
	}
	return fmt.Sprintf("-crash.seed=%d -crash.runs=1: crash %d: %v\n%s\n\ndaemon:\n%s", seed, c.crashes, err,
		strings.ReplaceAll(strings.Join(c.events, "\n"), "-long", ""), strings.ReplaceAll(c.daemon.String(), "-long", ""))
}

// TestNoCrashLosesWhatWasSynced runs the whole filesystem, without a kernel, on a disk in memory that loses
// power or has the daemon killed at any system call, also while it recovers, and up to a dozen times in a
// row. Whatever was fsynced is there afterwards, the rest is old or new, everything can be read.
func TestNoCrashLosesWhatWasSynced(t *testing.T) {
	seed, runs := *crashSeed, crashModelRuns()
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("%d crashes; replay with -run %s -crash.seed=%d -crash.runs=%d", runs, t.Name(), seed, runs)
	var next, crashes atomic.Int64
	var wg sync.WaitGroup
	keys, start := newModelKeys(), time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for crashes.Load() < int64(runs) && !t.Failed() {
				s := seed + uint64(next.Add(1)) - 1
				c := newCrashRun(s, keys)
				err := c.run()
				crashes.Add(int64(c.crashes))
				if err != nil {
					t.Error(c.report(s, err))
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d crashes in %d runs, %.0f a second", crashes.Load(), next.Load(), float64(crashes.Load())/time.Since(start).Seconds())
}

// crashModelRuns returns the number of crashes asked for by flag or environment.
func crashModelRuns() int {
	if *crashRuns > 0 {
		return *crashRuns
	}
	if n, err := strconv.Atoi(os.Getenv("KMSFS_CRASH_RUNS")); err == nil && n > 0 {
		return n
	}
	return 3000
}
