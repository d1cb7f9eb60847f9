package fs

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// maxRenameLog bounds what is read of a rename log: about a million directory renames.
const maxRenameLog = 256 << 20

// renames is the volume's rename log: it makes the rename of a directory one append, whatever is
// below it. Each slot records the log's sequence at its wrapping, so the path that it was wrapped
// under can be recomputed.
type renames struct {
	mu   sync.Mutex // serialises directory renames; first in the lock order
	file *backing.File
	size int64
	owed atomic.Pointer[envelope.RenameEntry] // a cancel that could not be written yet: it goes before the next entry; changed with mu held

	logs    atomic.Pointer[renameLogs]
	written atomic.Pointer[logEnd]
}

// logEnd is an end that the log had in the store. What it has in memory may be ahead: by an entry that is
// being written, and is taken back when that fails.
type logEnd struct {
	seq uint64
	id  [16]byte // envelope.RenameLog.Fingerprint
}

// noteWritten: all of the log in memory is durable. r.mu is held, or nothing else uses r yet.
func (r *renames) noteWritten() {
	end := &logEnd{seq: r.log().Seq()}
	end.id, _ = r.log().Fingerprint(end.seq)
	r.written.Store(end)
}

// renameLogs are the log and, after a sweep, the log before it: an open that began earlier may have
// seen a slot that the sweep has left behind. Both lock themselves.
type renameLogs struct {
	now    *envelope.RenameLog
	before *envelope.RenameLog // nil until a sweep
}

// log returns the log of the present.
func (r *renames) log() *envelope.RenameLog { return r.logs.Load().now }

// openRenames reads the log. A torn last entry is dropped: its rename never happened. What a killed mount
// has appended and not flushed is made durable before a key slot refers to it: a power loss would leave such
// a slot without a path. (That the file has its name is durable since the begin of the mount.)
func (v *volume) openRenames() (*renames, error) {
	r := &renames{}
	f, err := v.root.Open(envelope.RenameLogFile, v.ro)
	if errors.Is(err, syscall.ENOENT) {
		r.logs.Store(&renameLogs{now: v.crypto.NewRenameLog()})
		r.noteWritten()
		return r, nil
	}
	if err != nil {
		return nil, newError("open rename log", envelope.RenameLogFile, err)
	}
	log, size, err := v.parseRenames(f)
	if err != nil {
		f.Close()
		return nil, &Error{Op: "read rename log", Kind: KindBadVolume, Path: envelope.RenameLogFile, Err: err,
			hint: "kmsfs.renames was edited or damaged; restore it from a backup of the backing directory"}
	}
	if !v.ro {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		return nil, newError("flush rename log", envelope.RenameLogFile, err)
	}
	r.file, r.size = f, size
	r.logs.Store(&renameLogs{now: log})
	r.noteWritten()
	return r, nil
}

func (v *volume) parseRenames(f *backing.File) (*envelope.RenameLog, int64, error) {
	b, err := readAll(f, maxRenameLog)
	if err != nil {
		return nil, 0, err
	}
	return v.crypto.ParseRenameLog(b)
}

// pathAt returns the path that path, which stands for the log at sequence now, had at an earlier
// one; false when it had none. The log may be ahead of now: by the rename of a directory that is being
// made.
func (r *renames) pathAt(path string, seq, now uint64) (was string, ok bool) {
	l := r.logs.Load()
	base := l.now.Base()
	if l.before == nil || seq >= base {
		return l.now.PathAt(path, seq, now)
	}
	if path, ok = l.now.PathAt(path, base, max(now, base)); !ok {
		return "", false
	}
	return l.before.PathAt(path, seq, min(now, base))
}

// sweep retires the entries up to seq, which no slot is older than, and returns how many. r.mu is held.
func (r *renames) sweep(root *backing.Dir, seq uint64) (int, error) {
	old := r.log()
	if r.file == nil || r.owed.Load() != nil || seq <= old.Base() {
		return 0, nil
	}
	next, content, err := old.Retired(seq)
	if err != nil || next.Base() == old.Base() {
		return 0, err
	}
	f, err := replaceLocked(root, envelope.RenameLogFile, content)
	if err != nil {
		return 0, err
	}
	r.file.Close()
	r.file, r.size = f, int64(len(content))
	r.logs.Store(&renameLogs{now: next, before: old})
	return int(next.Base() - old.Base()), nil
}

// append makes an entry durable; r.mu is held. The entry's sequence is returned.
func (r *renames) append(root *backing.Dir, e envelope.RenameEntry) (uint64, error) {
	if err := r.create(root); err != nil {
		return 0, err
	}
	e.Seq = r.log().Seq() + 1
	b, err := r.log().Append(e)
	if err != nil {
		return 0, err
	}
	if err := r.write(b); err != nil {
		r.file.Truncate(r.size) // else the next mount may find an entry that this one goes on without
		return 0, errors.Join(err, r.log().Undo(e.Seq))
	}
	r.size += int64(len(b))
	r.noteWritten()
	return e.Seq, nil
}

// write puts b behind the valid part of the log, over the remains of a torn entry.
func (r *renames) write(b []byte) error {
	if err := r.file.Truncate(r.size); err != nil {
		return err
	}
	if _, err := r.file.WriteAt(b, r.size); err != nil {
		return err
	}
	return r.file.Sync()
}

// create makes the log's file at the first directory rename of a volume.
func (r *renames) create(root *backing.Dir) error {
	if r.file != nil {
		return nil
	}
	f, err := root.Create(envelope.RenameLogFile, 0o600)
	if err != nil {
		return err
	}
	r.file = f
	return root.Sync()
}

func (r *renames) close() {
	if r.file != nil {
		r.file.Close()
	}
}
