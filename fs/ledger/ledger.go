package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Ledger is a volume's ledger, open for one mount.
type Ledger struct {
	path     string
	volume   ID
	boot     ID
	readOnly bool

	mu     sync.Mutex // guards all below
	f      *os.File
	size   int64
	state  *state
	out    []byte        // records not written yet
	live   map[ID]*live  // directories in use by this mount
	fresh  map[ID]change // files changed and not recorded yet
	taken  map[ID]change // those that a checkpoint under way has taken
	marks  int           // durable flux marks since the last checkpoint
	failed error         // of a write: the log ends there

	accepting bool    // the store is right, whatever is known
	last      *uint64 // the store's last mount, once Lineage was told

	checkpoints sync.Mutex // held for a whole checkpoint; before mu
}

// live is a directory that this mount uses.
type live struct {
	sum     Sum
	whole   bool
	known   bool   // sum is what the directory has now
	changed bool   // sum is not what is recorded
	ops     int    // changes under way
	gen     uint64 // counts changes
}

// change is what a file's record becomes.
type change struct {
	fileState
	gone bool
}

// Options says which ledger to open.
type Options struct {
	Path     string // made with its directory if it is not there
	Volume   ID
	Boot     ID   // tells boots of the machine apart
	ReadOnly bool // look, and change nothing; the file need not be there
}

// ErrInUse says that another process has the ledger open for writing.
var ErrInUse = errors.New("the ledger is in use")

// Open reads a ledger and takes its lock. What a crash cut off at the end is dropped. An error of
// another kind than the operating system's means that the file is not a ledger of this volume.
func Open(o Options) (*Ledger, error) {
	l := &Ledger{path: o.Path, volume: o.Volume, boot: o.Boot, readOnly: o.ReadOnly,
		live: make(map[ID]*live), fresh: make(map[ID]change)}
	if err := l.open(); err != nil {
		return nil, err
	}
	if err := l.read(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Ledger) open() (err error) {
	if l.readOnly {
		if l.f, err = os.Open(l.path); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return err
	}
	if l.f, err = os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	return l.lock()
}

// lock takes the lock of the open file, which compaction may have replaced meanwhile.
func (l *Ledger) lock() error {
	if err := unix.Flock(int(l.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		l.f.Close()
		return ErrInUse
	}
	return nil
}

// read replays the file and settles what the last mount has left.
func (l *Ledger) read() error {
	l.state = newState(0)
	if l.f == nil {
		return nil
	}
	b, err := io.ReadAll(l.f)
	if err != nil {
		return err
	}
	l.state = newState(len(b) / (2 * fieldBytes[recFile]))
	valid, err := l.state.replay(l.volume, b)
	if err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	if valid == 0 && len(b) > maxFrame {
		return fmt.Errorf("%s: %w", l.path, errForeign)
	}
	l.size = int64(valid)
	unclean := l.state.open && l.state.boot != l.boot && l.state.fluxAll
	if unclean {
		l.state.allFlux()
	}
	if l.readOnly {
		return nil
	}
	if unclean || valid < len(b) || l.wasteful() {
		return l.compact()
	}
	return nil
}

// allFlux takes every sum for old.
func (s *state) allFlux() {
	for id, d := range s.dirs {
		d.flux = true
		s.dirs[id] = d
	}
}

// Empty reports whether nothing was ever recorded: the first mount of the volume with this ledger.
func (l *Ledger) Empty() bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.state.mounts) == 0
}

// Path returns the file's name, "" without a ledger.
func (l *Ledger) Path() string {
	if l == nil {
		return ""
	}
	return l.path
}

// Close gives up the lock. Without End before it, the mount counts as ended uncleanly.
func (l *Ledger) Close() error {
	if l == nil || l.f == nil {
		return nil
	}
	return l.f.Close()
}

// put queues records.
func (l *Ledger) put(records ...record) {
	if l.readOnly {
		return
	}
	for i := range records {
		l.out = records[i].append(l.out)
	}
}

// write writes the queued records, durably if sync is set; mu is held.
func (l *Ledger) write(sync bool) error {
	if l.readOnly || l.failed != nil {
		return l.failed
	}
	if l.size == 0 {
		l.out = append(header(l.volume), l.out...)
	}
	for len(l.out) > 0 {
		var part []byte
		part, l.out = split(l.out, l.size == 0)
		f := frame(part)
		if _, err := l.f.WriteAt(f, l.size); err != nil {
			l.failed = err
			return err
		}
		l.size += int64(len(f))
	}
	l.out = nil
	if sync {
		return l.f.Sync()
	}
	return nil
}

// header is the record that makes the first frame.
func header(volume ID) []byte {
	r := record{kind: recHeader, n: format, id: volume}
	return r.append(nil)
}

// split cuts records into what fits a frame and the rest; the first record alone when first is set.
func split(b []byte, first bool) (part, rest []byte) {
	n := 0
	for n < len(b) {
		size := 1 + fieldBytes[b[n]]
		if n+size > maxFrame || first && n > 0 {
			break
		}
		n += size
	}
	return b[:n:n], b[n:]
}

// Flush writes what is queued, without a device flush.
func (l *Ledger) Flush() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.out) == 0 {
		return l.failed
	}
	return l.write(false)
}

// wasteful reports whether most of the file is old.
func (l *Ledger) wasteful() bool {
	need := int64(len(l.state.files)*(1+fieldBytes[recFile]) + len(l.state.dirs)*(1+fieldBytes[recDir]))
	return l.size > 2*need+(1<<20)
}

// compact writes the state into a new file that takes the place of the old; mu is held or the ledger
// is not shared yet. Queued records are part of the state or are written behind it.
func (l *Ledger) compact() error {
	temp := l.path + ".new"
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	next := &Ledger{path: l.path, volume: l.volume, f: f}
	if err := next.lock(); err != nil {
		return err
	}
	next.put(l.state.records(l.volume)[1:]...)
	if err := next.write(true); err != nil {
		f.Close()
		return err
	}
	if err := os.Rename(temp, l.path); err != nil {
		f.Close()
		return err
	}
	l.f.Close()
	l.f, l.size = f, next.size
	return syncDir(filepath.Dir(l.path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
