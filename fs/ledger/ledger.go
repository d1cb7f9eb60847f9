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
	failed bool          // the last write did; the next one is flushed
	stale  bool          // records are missing in the file: it is to be written anew

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
	if err := l.lock(); err != nil {
		return err
	}
	if !l.current() {
		l.f.Close()
		return ErrInUse
	}
	return nil
}

// current reports whether the open file, which is locked, still has the ledger's name: another process
// may have written it anew between the open and the lock, and holds the lock of the new file.
func (l *Ledger) current() bool {
	mine, err := l.f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(l.path)
	return err == nil && os.SameFile(mine, named)
}

// lock takes the lock of the open file.
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
	unclean := l.state.doubted || l.state.open && l.state.boot != l.boot && l.state.fluxAll
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
