package crashdisk

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/backing"
)

// Disk is a filesystem in memory. It implements backing.System.
type Disk struct {
	mu  sync.Mutex
	rng Chance

	now     *tree // as the running system sees it
	durable *tree // as the device has it, without what is in the journal
	journal []change
	made    uint64 // changes ever made; the sequence of the latest
	data    map[uint64]*content
	lastIno uint64

	open   map[int]*handle
	lastFD int

	left  int  // calls that change something until the disk dies; negative: it does not
	dead  bool // every call fails
	Stats Stats
}

// Chance decides what is left to chance, as *rand.Rand of math/rand/v2 does: each method returns a number
// from 0 to below n.
type Chance interface {
	IntN(n int) int
	Int64N(n int64) int64
	Uint32N(n uint32) uint32
	Uint64N(n uint64) uint64
}

// Stats counts system calls since the Disk was made.
type Stats struct {
	Calls   int // that change something
	Flushes int // of the device: fsync, fdatasync and syncfs
}

// handle is an open descriptor.
type handle struct {
	ino   uint64
	write bool
}

var _ backing.System = (*Disk)(nil)

// New makes an empty disk. chance decides what crashes leave.
func New(chance Chance) *Disk {
	d := &Disk{rng: chance, data: map[uint64]*content{}, open: map[int]*handle{}, lastIno: rootIno, lastFD: 2, left: -1}
	d.now = &tree{rootIno: newObject(rootIno, unix.S_IFDIR|0o755)}
	d.durable = d.now.clone()
	return d
}

// Root opens the root directory of a disk that is alive.
func (d *Disk) Root() *backing.Dir {
	d.mu.Lock()
	defer d.mu.Unlock()
	return backing.NewRoot(d, d.newHandle(rootIno, false))
}

// DieAfter makes the disk die at the call that changes something after n more of them; never when n is
// negative.
func (d *Disk) DieAfter(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = n
}

// Dead reports whether the disk has died.
func (d *Disk) Dead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

// Descriptors counts what is open.
func (d *Disk) Descriptors() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

// Reboot ends the system: all descriptors are gone. With power, only what is durable is there afterwards,
// and what of the rest chance has let through; without, everything is.
func (d *Disk) Reboot(power bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open, d.dead, d.left = map[int]*handle{}, false, -1
	if power {
		d.lose()
	}
	d.forgetUnnamed()
}

// step counts a call that changes something, or fails when the disk dies at it. Whether the change is
// made all the same is left to chance: a call may be made and not return.
func (d *Disk) step() (made bool, err error) {
	if d.dead {
		return false, unix.EIO
	}
	d.Stats.Calls++
	if d.left == 0 {
		d.dead = true
		return d.rng.IntN(2) == 0, unix.EIO
	}
	d.left--
	return true, nil
}

// newHandle opens an object; d.mu is held.
func (d *Disk) newHandle(ino uint64, write bool) int {
	d.lastFD++
	d.open[d.lastFD] = &handle{ino: ino, write: write}
	return d.lastFD
}

// at returns the object open as fd.
func (d *Disk) at(fd int) (*object, error) {
	if d.dead {
		return nil, unix.EIO
	}
	h := d.open[fd]
	if h == nil {
		return nil, unix.EBADF
	}
	return (*d.now)[h.ino], nil
}

// find returns what name means below fd; "" is the object itself.
func (d *Disk) find(fd int, name string) (*object, error) {
	o, err := d.at(fd)
	if err != nil || name == "" {
		return o, err
	}
	return d.below(o, name)
}

func (d *Disk) below(dir *object, name string) (*object, error) {
	if !dir.is(unix.S_IFDIR) {
		return nil, unix.ENOTDIR
	}
	if len(name) > 255 {
		return nil, unix.ENAMETOOLONG
	}
	ino, ok := dir.names[name]
	if !ok {
		return nil, unix.ENOENT
	}
	return (*d.now)[ino], nil
}

// forgetUnnamed drops what has neither name nor descriptor. Its content stays until the journal is durable:
// a power loss may bring the name back.
func (d *Disk) forgetUnnamed() {
	inUse := map[uint64]bool{}
	for _, h := range d.open {
		inUse[h.ino] = true
	}
	for ino, o := range *d.now {
		if o.links == 0 && !inUse[ino] {
			delete(*d.now, ino)
		}
	}
}
