package fs

import (
	"errors"
	"sync"
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
	owed *envelope.RenameEntry // a cancel that could not be written yet: it goes before the next entry

	log *envelope.RenameLog // locks itself
}

// openRenames reads the log. A torn last entry is dropped: its rename never happened.
func (v *volume) openRenames() (*renames, error) {
	r := &renames{}
	f, err := v.root.Open(envelope.RenameLogFile, v.ro)
	if errors.Is(err, syscall.ENOENT) {
		r.log = v.crypto.NewRenameLog()
		return r, nil
	}
	if err != nil {
		return nil, newError("open rename log", envelope.RenameLogFile, err)
	}
	if r.log, r.size, err = v.parseRenames(f); err != nil {
		f.Close()
		return nil, &Error{Op: "read rename log", Kind: KindBadVolume, Path: envelope.RenameLogFile, Err: err,
			hint: "kmsfs.renames was edited or damaged; restore it from a backup of the backing directory"}
	}
	r.file = f
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
func (r *renames) pathAt(path string, seq, now uint64) (string, bool) {
	return r.log.PathAt(path, seq, now)
}

// append makes an entry durable; r.mu is held. The entry's sequence is returned.
func (r *renames) append(root *backing.Dir, e envelope.RenameEntry) (uint64, error) {
	if err := r.create(root); err != nil {
		return 0, err
	}
	e.Seq = r.log.Seq() + 1
	b, err := r.log.Append(e)
	if err != nil {
		return 0, err
	}
	if err := r.write(b); err != nil {
		return 0, errors.Join(err, r.log.Undo(e.Seq))
	}
	r.size += int64(len(b))
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
