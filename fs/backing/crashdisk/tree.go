package crashdisk

import (
	"maps"

	"golang.org/x/sys/unix"
)

const rootIno = 2

// object is an inode without the content of a file.
type object struct {
	ino      uint64
	mode     uint32
	uid, gid uint32
	rdev     uint64
	links    uint64
	atime    unix.Timespec
	mtime    unix.Timespec
	target   string            // symbolic links
	names    map[string]uint64 // directories
	order    uint64            // of making, for listings
	xattrs   map[string]string
}

func newObject(ino uint64, mode uint32) *object {
	o := &object{ino: ino, mode: mode, links: 1, order: ino}
	if o.is(unix.S_IFDIR) {
		o.names, o.links = map[string]uint64{}, 2
	}
	return o
}

func (o *object) is(kind uint32) bool { return o.mode&unix.S_IFMT == kind }

func (o *object) clone() *object {
	c := *o
	c.names, c.xattrs = maps.Clone(o.names), maps.Clone(o.xattrs)
	return &c
}

// tree is all objects by inode number.
type tree map[uint64]*object

func (t *tree) clone() *tree {
	c := make(tree, len(*t))
	for ino, o := range *t {
		c[ino] = o.clone()
	}
	return &c
}

// link gives ino a name that is free.
func (t *tree) link(dir uint64, name string, ino uint64) { (*t)[dir].names[name] = ino }

// unlink takes a name away.
func (t *tree) unlink(dir uint64, name string) {
	d := (*t)[dir]
	o := (*t)[d.names[name]]
	delete(d.names, name)
	if o.is(unix.S_IFDIR) {
		o.links = 0
	} else {
		o.links--
	}
}

// change is one entry of the journal. apply makes it in a tree; touched are the inodes that it concerns:
// an fsync of one of them makes it durable.
type change struct {
	seq     uint64
	touched [4]uint64
	apply   func(t *tree)
}

// make applies a change and records it; d.mu is held and the call was counted by step.
func (d *Disk) make(apply func(t *tree), touched ...uint64) {
	d.made++
	c := change{seq: d.made, apply: apply}
	copy(c.touched[:], touched)
	apply(d.now)
	d.journal = append(d.journal, c)
}

// commit makes the journal durable up to a sequence.
func (d *Disk) commit(upTo uint64) {
	n := 0
	for n < len(d.journal) && d.journal[n].seq <= upTo {
		d.journal[n].apply(d.durable)
		n++
	}
	d.journal = append(d.journal[:0:0], d.journal[n:]...)
}

// lastOf returns the sequence of the last change in the journal that concerns an inode, 0 for none.
func (d *Disk) lastOf(ino uint64) uint64 {
	for i := len(d.journal) - 1; i >= 0; i-- {
		for _, t := range d.journal[i].touched {
			if t == ino {
				return d.journal[i].seq
			}
		}
	}
	return 0
}

// committed is the sequence up to which the journal is durable.
func (d *Disk) committed() uint64 {
	if len(d.journal) == 0 {
		return d.made
	}
	return d.journal[0].seq - 1
}

// lose is a power loss: a prefix of the journal survives, and of the content what chance leaves.
func (d *Disk) lose() {
	if n := len(d.journal); n > 0 {
		d.commit(d.journal[0].seq - 1 + d.rng.Uint64N(uint64(n)+1))
	}
	upTo := d.committed()
	d.journal = nil
	for ino, o := range *d.durable {
		if o.links == 0 {
			delete(*d.durable, ino)
		}
	}
	for ino := uint64(rootIno); ino <= d.lastIno; ino++ { // in a fixed order, so that a seed replays
		c := d.data[ino]
		if c == nil {
			continue
		}
		if (*d.durable)[ino] == nil {
			delete(d.data, ino)
			continue
		}
		c.lose(d.rng, upTo)
	}
	d.now = d.durable.clone()
}
