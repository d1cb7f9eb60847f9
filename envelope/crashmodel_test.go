package envelope

import (
	"bytes"
	"errors"
	goflag "flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	crashSeed = goflag.Uint64("crash.seed", 0, "first seed of the crash model, 0: from the clock")
	crashRuns = goflag.Int("crash.runs", 0, "number of crash model runs, 0: KMSFS_CRASH_RUNS or a short run")
)

// crashRun is one run of the model: a file on a crashable store, random operations, crashes.
type crashRun struct {
	r     *rand.Rand
	store *crashStore
	key   *DataKey
	file  *File
	mount uint64
	bad   map[uint64]bool // mounts that ended uncleanly

	now       modelState   // working state
	before    modelState   // the same before the operation under way
	attempted []modelState // a failed commit may have written, since the last Sync
	overtaken int          // of these, how many a later commit has overwritten
	flaky     bool         // the store fails now and then without crashing
	buffered  int          // blocks kept back
	committed []modelState // from the last acknowledged Sync (or creation) on
	acked     bool         // committed[0] was acknowledged durable
	seq       uint64       // of the last commit seen
	log       []string     // operations, for the report of a failure
}

func newCrashRun(seed uint64) *crashRun {
	key, err := NewDataKey(bytes.Repeat([]byte{byte(seed) | 1}, KeySize))
	if err != nil {
		panic(err)
	}
	c := &crashRun{r: rand.New(rand.NewPCG(seed, 0)), key: key, mount: 1, bad: map[uint64]bool{}}
	c.buffered = []int{12, 40}[c.r.IntN(2)]
	return c
}

func (c *crashRun) options() FileOptions {
	return FileOptions{
		Store: c.store, Key: c.key, Stat: zeroStat{}, MountID: c.mount,
		limits: limits{dirtyBlocks: c.buffered, dirtyNodes: 6, epochMessages: 300},
	}
}

func (c *crashRun) note(format string, a ...any) { c.log = append(c.log, fmt.Sprintf(format, a...)) }

// create starts over with an empty store and a new file.
func (c *crashRun) create() error {
	c.store = newCrashStore()
	area := c.randomArea()
	flags := []uint16{0, FlagCompress, FlagCompress}[c.r.IntN(3)]
	f, err := CreateFile(c.options(), VolumeID{1}, FileID{2}, area, flags)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	c.note("create area=%d flags=%d", len(area), flags)
	c.file, c.acked = f, false
	c.now = modelState{blocks: map[int64]*[PageSize]byte{}, area: area, compress: flags != 0}
	c.before = c.now.clone()
	c.committed = []modelState{c.before}
	c.seq, _ = f.State()
	return nil
}

// randomArea has any length: long ones leave few root entries, so that small files have high trees.
func (c *crashRun) randomArea() []byte {
	n := []int{0, 200, 1500, MaxSlotArea, c.r.IntN(MaxSlotArea)}[c.r.IntN(5)]
	return bytes.Repeat([]byte{byte(c.r.IntN(255) + 1)}, n)
}

// randomOffset lies mostly near the start, sometimes where a taller tree is needed.
func (c *crashRun) randomOffset() int64 {
	switch c.r.IntN(12) {
	case 0:
		return int64(c.r.IntN(4000))
	case 1:
		return 112*7*PageSize - 20000 + int64(c.r.IntN(40000))
	case 2:
		return int64(112*112*7)*PageSize - 9000 + int64(c.r.IntN(40000))
	default:
		return int64(c.r.IntN(200 << 10))
	}
}

// randomBytes are mostly such that they compress, so that there are chunks of both kinds.
func (c *crashRun) randomBytes(n int) []byte {
	p := make([]byte, n)
	step := []int{8, 16, 32, 64}[c.r.IntN(4)]
	for i := 0; i+8 <= n; i += step {
		v := c.r.Uint64()
		for j := range 8 {
			p[i+j] = byte(v >> (8 * j))
		}
	}
	return p
}

// op does one random operation on the open file and on the model.
func (c *crashRun) op() error {
	switch n := c.r.IntN(100); {
	case n < 30:
		return c.write(c.randomOffset(), 1+c.r.IntN(9000))
	case n < 36:
		return c.write(c.randomOffset()&^(PageSize-1), PageSize*(directBlocks+c.r.IntN(8)))
	case n < 40:
		return c.write(c.randomOffset()&^(chunkSize-1), chunkSize+c.r.IntN(3*chunkSize))
	case n < 46:
		return c.write(c.now.size, 1+c.r.IntN(6000))
	case n < 54:
		return c.truncate()
	case n < 62:
		return c.punch()
	case n < 64:
		c.note("compress %v", !c.now.compress)
		c.now.compress = !c.now.compress
		return c.file.SetCompress(c.now.compress)
	case n < 67:
		area := c.randomArea()
		c.note("area %d", len(area))
		c.now.area = area
		return c.file.SetSlotArea(area)
	case n < 78:
		c.note("commit")
		return c.file.Commit()
	case n < 90:
		return c.sync()
	default:
		return c.reopen()
	}
}

func (c *crashRun) write(off int64, n int) error {
	c.note("write %d+%d", off, n)
	p := c.randomBytes(n)
	n, err := c.file.WriteAt(p, off)
	c.now.write(p[:n], off)
	if n > 0 {
		c.now.size = max(c.now.size, off+int64(n))
	}
	return err
}

func (c *crashRun) truncate() error {
	size := []int64{0, int64(c.r.IntN(MaxInline)), c.randomOffset(), c.randomOffset(), c.now.size &^ (PageSize - 1)}[c.r.IntN(5)]
	c.note("truncate %d", size)
	err := c.file.Truncate(size)
	if err == nil {
		c.now.resize(size)
	}
	return err
}

func (c *crashRun) punch() error {
	off, n := c.randomOffset(), int64(c.r.IntN(60000))
	c.note("punch %d+%d", off, n)
	err := c.file.Punch(off, n)
	if err == nil {
		c.now.zero(off, min(off+n, c.now.size))
	}
	return err
}

// sync also checks that it costs one flush, or none when nothing changed since the last, or a second one
// when a shrink has left so much free that pages are moved to the front.
func (c *crashRun) sync() error {
	c.note("sync")
	flushFirst, want := c.file.flushFirst && (c.file.changed || c.file.settling), 1
	if seq, durable := c.file.State(); seq == durable && !c.file.Dirty() && !c.file.Unsettled() {
		want = 0
	}
	if flushFirst {
		want++
	}
	before, mayCompact := c.store.syncs, c.file.shrunk
	if err := c.file.Sync(); err != nil {
		return err
	}
	if got := c.store.syncs - before; got != want && !(mayCompact && got == want+1) {
		return fmt.Errorf("sync made %d flushes, want %d", got, want)
	}
	c.observe()
	c.committed = []modelState{c.now.clone()}
	c.acked = true
	c.attempted, c.overtaken = nil, 0
	return nil
}

// observe adds the state before the operation to the committed ones if a commit happened: a change
// commits, if at all, before it is made.
func (c *crashRun) observe() {
	if seq, _ := c.file.State(); seq != c.seq {
		c.seq = seq
		c.committed = append(c.committed, c.before.clone())
		c.overtaken = len(c.attempted)
	}
}

// reopen closes the file and opens it again the way a live mount, the next mount, or a mount with
// a bad memory does.
func (c *crashRun) reopen() error {
	c.store.fail = nil
	if c.r.IntN(4) == 0 && len(c.attempted) == c.overtaken {
		c.note("abandon")
		c.now = c.committed[len(c.committed)-1].clone()
		c.before = c.now
		return c.reopenLive()
	}
	if err := c.file.Commit(); err != nil {
		return err
	}
	c.observe()
	if c.r.IntN(3) > 0 {
		return c.reopenLive()
	}
	return c.remount()
}

// reopenLive opens the file again in the same mount, which may have forgotten what was durable.
func (c *crashRun) reopenLive() error {
	_, durable := c.file.State()
	t := Trust{Settled: true, DurableSeq: durable, Fresh: durable == 0 && !c.acked, FlushFailed: c.file.FlushFailed()}
	if c.r.IntN(4) == 0 {
		t = Trust{Settled: true, FlushFailed: t.FlushFailed}
	}
	c.file.Wipe()
	c.note("reopen %+v", t)
	return c.open(t)
}

// remount ends the mount cleanly, sometimes after a change of the key slots without the key, and
// opens the file in the next one.
func (c *crashRun) remount() error {
	if err := c.sync(); err != nil {
		return err
	}
	seq, _ := c.file.State()
	c.file.Wipe()
	if c.r.IntN(2) == 0 {
		if err := c.rewriteSlots(); err != nil {
			return err
		}
	}
	c.note("remount")
	c.mount++
	return c.open(Trust{Settled: true, DurableSeq: seq})
}

// rewriteSlots changes the slot area of the flushed file without its key.
func (c *crashRun) rewriteSlots() error {
	r, err := ReadRoots(c.store)
	if err != nil {
		return err
	}
	area := c.randomArea()
	if !c.settled(r) || len(area) > r.Newest().SlotSpace {
		if err := RewriteSlots(c.store, r, area); err == nil {
			return errors.New("slots of an unsettled or full file were rewritten")
		}
		return nil
	}
	c.note("rewrite slots %d", len(area))
	c.now.area = area
	c.before = c.now
	if err := RewriteSlots(c.store, r, area); err != nil {
		return err
	}
	c.committed = append(c.committed, c.now.clone())
	return nil
}

func (c *crashRun) open(t Trust) error {
	r, err := ReadRoots(c.store)
	if err != nil {
		return err
	}
	if got := c.settled(r); t.Settled != got {
		t = Trust{Settled: got, FlushFailed: t.FlushFailed}
	}
	c.file, err = OpenFile(c.options(), r, t)
	if err == nil {
		c.seq, _ = c.file.State()
	}
	return err
}

// settled asks whether a mount that wrote the file ended uncleanly.
func (c *crashRun) settled(r *Roots) bool {
	return r.Settled(func(id uint64) bool { return c.bad[id] })
}

// step does one operation and notes what was committed by it.
func (c *crashRun) step() error {
	c.before = c.now.clone()
	c.store.fail = nil
	if c.flaky {
		c.store.fail = c.fault
	}
	err := c.op()
	if errors.Is(err, errFault) {
		c.note("fault: %v", err)
		c.attempted = append(c.attempted, c.before.clone())
		err = nil
	}
	if err == nil {
		c.observe()
	}
	return err
}

var (
	errFault        = errors.New("injected fault")
	errFaultWritten = fmt.Errorf("%w after the page was written", errFault)
)

// fault makes one in 60 page writes and one in 6 flushes fail.
func (c *crashRun) fault(op string) error {
	switch n := c.r.IntN(60); {
	case n == 0, op == "sync" && n < 10:
		return errFault
	case n == 1:
		return errFaultWritten
	}
	return nil
}

// crash ends the process or the power, opens the file again and checks what it holds.
func (c *crashRun) crash(power bool) error {
	c.note("crash power=%v", power)
	c.file.Wipe()
	c.bad[c.mount] = true
	c.mount++
	c.store.reboot(c.r, power)
	c.store.fail = nil
	candidates := append(append(c.committed[:len(c.committed):len(c.committed)], c.attempted...), c.before)
	if !power {
		candidates = candidates[len(c.committed)-1:]
		candidates = append(candidates[:1:1], candidates[1+c.overtaken:]...)
	}
	c.attempted, c.overtaken = nil, 0
	got, err := c.recover(candidates)
	switch {
	case errors.Is(err, errCrash):
		return c.crash(c.r.IntN(2) == 0)
	case err != nil && power && !c.acked:
		c.note("never synced: %v", err)
		return c.create()
	case err != nil:
		return err
	}
	c.now = candidates[got].clone()
	c.before = c.now
	if power {
		c.committed, c.acked = nil, true
	}
	c.committed = append(c.committed, c.now.clone())
	return nil
}

// run does the whole run and returns the number of crashes that it went through.
func (c *crashRun) run() (crashes int, err error) {
	if err := c.create(); err != nil {
		return 0, err
	}
	lives := 1 + c.r.IntN(12)
	c.flaky = c.r.IntN(4) == 0
	for crashes < lives {
		if c.r.IntN(3) > 0 {
			c.store.budget = c.r.IntN(60)
		} else {
			c.store.budget = c.r.IntN(6)
		}
		for ops := 5 + c.r.IntN(25); ops > 0 && err == nil; ops-- {
			err = c.step()
		}
		if err != nil && !errors.Is(err, errCrash) {
			return crashes, err
		}
		if err == nil {
			if err := c.compare(&c.now); err != nil && !errors.Is(err, errCrash) {
				return crashes, err
			}
		}
		crashes++
		if err = c.crash(c.r.IntN(3) > 0); err != nil {
			return crashes, err
		}
	}
	return crashes, nil
}

// zeroStat seals nothing: the engine does not read stat records.
type zeroStat struct{}

func (zeroStat) SealStat(FileID, uint64, uint64) (r [StatRecordSize]byte) { return r }

// TestNoCrashLosesAcknowledgedData runs the real page engine on a store that loses power or has its
// process killed at any page write, also during recovery and up to a dozen times in a row. After a
// power loss the file must hold exactly one of the states committed at or after the last
// acknowledged Sync, after a kill the last completed commit or the one under way; never an error.
func TestNoCrashLosesAcknowledgedData(t *testing.T) {
	seed, runs := *crashSeed, crashModelRuns()
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("%d runs; replay with -run %s -crash.seed=%d -crash.runs=%d", runs, t.Name(), seed, runs)
	var next, crashes atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(runs) && !t.Failed(); i = next.Add(1) - 1 {
				c := newCrashRun(seed + uint64(i))
				n, err := c.run()
				crashes.Add(int64(n))
				if err != nil {
					t.Errorf("-crash.seed=%d -crash.runs=1: crash %d: %v\n%s", seed+uint64(i), n, err, bytes.Join(lines(c.log), []byte("\n")))
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d crashes", crashes.Load())
}

func lines(log []string) (out [][]byte) {
	for _, l := range log {
		out = append(out, []byte(l))
	}
	return out
}

// crashModelRuns returns the number of runs asked for by flag or environment.
func crashModelRuns() int {
	if *crashRuns > 0 {
		return *crashRuns
	}
	if n, err := strconv.Atoi(os.Getenv("KMSFS_CRASH_RUNS")); err == nil && n > 0 {
		return n
	}
	if testing.Short() {
		return 500
	}
	return 2000
}
