package fs

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// inode is one object of the volume that the kernel or an open file refers to.
type inode struct {
	id   uint64 // FUSE node id; never used twice in a mount
	ino  uint64 // inode number in the store, shown to applications
	kind uint32 // S_IFMT bits

	// Guarded by tree.mu.
	lookups  uint64            // references the kernel holds
	pins     int               // references this package holds: open files, fold queue
	names    []place           // where it is known to be; a directory has one, the root none
	children map[string]*inode // directories: known entries by plaintext name
	ghost    *ghost            // what is left of it without a name
	dirID    envelope.DirID    // directories; set once, before the inode is reachable

	// xattrs tells whether the object may carry extended attributes of the user's: it spares a
	// system call for each of the kernel's frequent questions.
	xattrs atomic.Int32

	// compress is what is known of a directory's own setting of compression, see compress.go.
	compress atomic.Int32

	checked atomic.Bool // directories: compared with the ledger; set under mu

	open atomic.Pointer[openFile] // regular files in use; set and cleared under mu

	mu    sync.Mutex
	file  fileState // regular files; guarded by mu
	since time.Time // when the key was taken; guarded by mu
}

// place is one name of an inode.
type place struct {
	dir   *inode
	name  string // plaintext
	store string // name in the store
}

// fileState is what stays known of a regular file between two uses.
type fileState struct {
	id        envelope.FileID
	size      int64
	sizeKnown bool
	hinted    int64  // size that the hint in the store says, -1 when unknown
	proven    bool   // the hint in the store says that a commit of the file is durable
	changes   uint64 // count of changes of names, plus one, that its last fsync has made durable
	closes    uint64 // counts last closes: roots read before one are stale after it

	// What the page engine is told at the next open, see envelope.Trust.
	durable     uint64
	fresh       bool
	flushFailed bool

	slots      envelope.SlotTable
	slotsKnown bool
	staged     bool // the store's attribute holds a newer table than the header

}

// ghost is an object whose last name was removed while the kernel still refers to it: a process
// that has just looked the name up may yet open it, as on any other filesystem.
type ghost struct {
	stat  unix.Stat_t   // as it was, with no links
	path  string        // its last path
	seq   uint64        // the rename log sequence that path stands for
	store *backing.File // regular files; closed when the kernel forgets the inode
}

// openFile is a regular file in use: its key is held.
type openFile struct {
	file    *envelope.File
	store   *backing.File
	handles int // guarded by inode.mu
	writers int // guarded by inode.mu
	dirty   atomic.Bool

	// mtime is the last change as the application should see it: this package writes later.
	mtime atomic.Pointer[unix.Timespec]

	// users is held for reading by requests that the kernel does not order before the last close,
	// and for writing by the last close. inode.mu is never taken under it.
	users sync.RWMutex
}

// borrow returns the open file, nil when in is not in use; call done afterwards.
func (in *inode) borrow() (of *openFile, done func()) {
	of = in.open.Load()
	if of == nil {
		return nil, nil
	}
	of.users.RLock()
	if in.open.Load() != of {
		of.users.RUnlock()
		return nil, nil
	}
	return of, of.users.RUnlock
}

// olderInode orders inodes by when they became known, so that what is done to many of them is done in one
// order every time.
func olderInode(a, b *inode) int { return cmp.Compare(a.id, b.id) }

func (in *inode) isDir() bool     { return in.kind == unix.S_IFDIR }
func (in *inode) isRegular() bool { return in.kind == unix.S_IFREG }

// removeName forgets one name; tree.mu is held.
func (in *inode) removeName(dir *inode, name string) {
	for i, p := range in.names {
		if p.dir == dir && p.name == name {
			in.names = append(in.names[:i:i], in.names[i+1:]...)
			return
		}
	}
}
