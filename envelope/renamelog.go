package envelope

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
)

// RenameLogFile is the store's name of the rename log.
const RenameLogFile = "kmsfs.renames"

// RenameEntry is one directory rename. Paths are plaintext, from the volume's root, with a leading
// slash and without a trailing one.
type RenameEntry struct {
	Seq      uint64 // position in the log, from 1; RenameLog.Append fills in 0
	Exchange bool   // Old and New changed places (RENAME_EXCHANGE)
	Cancel   bool   // the newest entry with these paths did not happen
	Old, New string
}

// RenameLog is the list of directory renames since a base. It tells under which path a file's data
// key was wrapped when directories above it have been renamed since. Safe for concurrent use.
type RenameLog struct {
	vol *Volume

	mu      sync.RWMutex   // guards all below
	base    uint64         // entries up to here are retired
	baseTag [tagSize]byte  // of the base frame, zero without one
	entries []loggedRename // consecutive from base+1
}

// loggedRename is an entry and what belongs to it.
type loggedRename struct {
	RenameEntry
	cancelled bool   // by a later entry
	cancels   uint64 // sequence of the entry that this one takes back, 0 for none
	tag       [tagSize]byte
}

// NewRenameLog returns the empty log of a new volume; its file is empty too.
func (v *Volume) NewRenameLog() *RenameLog { return &RenameLog{vol: v} }

// Seq returns the sequence of the newest entry, 0 if there never was one.
func (l *RenameLog) Seq() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.seq()
}

// seq is Seq with the lock held.
func (l *RenameLog) seq() uint64 { return l.base + uint64(len(l.entries)) }

// Base returns the sequence up to which entries are retired: a key wrapped before can't be traced.
func (l *RenameLog) Base() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.base
}

// Entries returns a copy of the entries, oldest first.
func (l *RenameLog) Entries() []RenameEntry {
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make([]RenameEntry, len(l.entries))
	for i, e := range l.entries {
		out[i] = e.RenameEntry
	}
	return out
}

// Append adds an entry and returns the bytes to append to the file at the valid length. If they
// can't be written, take the entry back with Undo. KindInvalid for paths that can't be, a sequence
// that is not the next, or a Cancel that matches no entry; KindTooLong for paths above
// MaxLoggedPath bytes.
func (l *RenameLog) Append(e RenameEntry) ([]byte, error) {
	const op = "append to rename log"
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.seq() + 1
	if e.Seq == 0 {
		e.Seq = next
	}
	kind, err := checkRename(e)
	if err == nil && e.Seq != next {
		kind, err = KindInvalid, fmt.Errorf("entry %d after %d", e.Seq, next-1)
	}
	if err == nil && e.Cancel && l.target(e) == nil {
		kind, err = KindInvalid, errors.New("nothing to cancel")
	}
	if err != nil {
		return nil, newError(op, kind, FileID{}, err)
	}
	frame := l.vol.sealRename(e, l.lastTag())
	if frame == nil {
		return nil, errClosed(op)
	}
	l.add(e, frame)
	return frame, nil
}

// add takes an entry that passed all checks.
func (l *RenameLog) add(e RenameEntry, frame []byte) {
	logged := loggedRename{RenameEntry: e, tag: frameTag(frame)}
	if e.Cancel {
		t := l.target(e)
		t.cancelled, logged.cancels = true, t.Seq
	}
	l.entries = append(l.entries, logged)
}

// lastTag returns the tag that the next frame follows.
func (l *RenameLog) lastTag() [tagSize]byte {
	if n := len(l.entries); n > 0 {
		return l.entries[n-1].tag
	}
	return l.baseTag
}

// Undo takes back the newest entry, whose bytes could not be written to the file; seq says which
// one the caller means. KindInvalid if it is not the newest.
func (l *RenameLog) Undo(seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.entries)
	if n == 0 || l.entries[n-1].Seq != seq {
		return newError("undo in rename log", KindInvalid, FileID{}, fmt.Errorf("entry %d is not the newest, %d is", seq, l.seq()))
	}
	if t := l.entries[n-1].cancels; t != 0 {
		l.entries[t-l.base-1].cancelled = false
	}
	l.entries = l.entries[:n-1]
	return nil
}

// Retired returns a log without the entries up to seq, and the content of its file, which replaces
// the old one as a whole. Keep l until that has happened. Entries that a later Cancel names stay.
// Retire only what no slot's LogSeq is below.
func (l *RenameLog) Retired(seq uint64) (*RenameLog, []byte, error) {
	const op = "retire rename log entries"
	l.mu.RLock()
	defer l.mu.RUnlock()
	seq = l.retirable(min(max(seq, l.base), l.seq()))
	out := l.vol.NewRenameLog()
	file := l.vol.sealFrame(seq, encodeRename(frameBase, "", ""), out.baseTag)
	if file == nil {
		return nil, nil, errClosed(op)
	}
	out.base, out.baseTag = seq, frameTag(file)
	for _, e := range l.entries[seq-l.base:] {
		frame := l.vol.sealRename(e.RenameEntry, out.lastTag())
		if frame == nil {
			return nil, nil, errClosed(op)
		}
		out.add(e.RenameEntry, frame)
		file = append(file, frame...)
	}
	return out, file, nil
}

// retirable lowers seq until no entry above it cancels one that is not.
func (l *RenameLog) retirable(seq uint64) uint64 {
	for i := len(l.entries); i > int(seq-l.base); i-- {
		if t := l.entries[i-1].cancels; t != 0 && t <= seq {
			seq = t - 1
		}
	}
	return seq
}

// target returns the entry that a Cancel entry takes back, nil if there is none.
func (l *RenameLog) target(c RenameEntry) *loggedRename {
	for i := len(l.entries) - 1; i >= 0; i-- {
		e := &l.entries[i]
		if !e.Cancel && !e.cancelled && e.Exchange == c.Exchange && e.Old == c.Old && e.New == c.New {
			return e
		}
	}
	return nil
}

// PathAt returns the path under which the file that is at path when the log is at now was known when
// the log was at seq: it takes back the entries above seq up to now, newest first. ok is false when
// no file can have come from there to here (FORMAT.md section 10): the path was vacated since, its
// entries are retired, or the log is behind seq and thus older than the question.
func (l *RenameLog) PathAt(path string, seq, now uint64) (was string, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if seq > l.seq() || seq < l.base {
		return "", false
	}
	first := sort.Search(len(l.entries), func(i int) bool { return l.entries[i].Seq > seq })
	for i := len(l.entries) - 1; i >= first; i-- {
		e := &l.entries[i]
		if e.Cancel || e.cancelled || e.Seq > now {
			continue
		}
		if path, ok = e.before(path); !ok {
			return "", false
		}
	}
	return path, true
}

// before returns where the file that is at path after the rename was before it; false when the
// rename took everything away from there. A file at Old itself may have changed places with the
// directory; its key was wrapped for Old before the entry.
func (e *RenameEntry) before(path string) (string, bool) {
	if was, ok := replacePrefix(path, e.New, e.Old); ok {
		return was, true
	}
	was, left := replacePrefix(path, e.Old, e.New)
	if left && !e.Exchange && path != e.Old {
		return "", false
	}
	if !e.Exchange {
		return path, true
	}
	return was, true
}

// replacePrefix replaces the leading components from of path by to.
func replacePrefix(path, from, to string) (string, bool) {
	rest, ok := strings.CutPrefix(path, from)
	if !ok || (rest != "" && rest[0] != '/') {
		return path, false
	}
	return to + rest, true
}

// checkRename tells what is wrong with an entry.
func checkRename(e RenameEntry) (Kind, error) {
	for _, p := range []string{e.Old, e.New} {
		if len(p) > MaxLoggedPath {
			return KindTooLong, fmt.Errorf("path of %d bytes", len(p))
		}
		if !validLoggedPath(p) {
			return KindInvalid, fmt.Errorf("%q is not a path from the volume's root", p)
		}
	}
	if _, below := replacePrefix(e.New, e.Old, ""); below {
		return KindInvalid, errors.New("a directory can't move into itself")
	}
	if _, below := replacePrefix(e.Old, e.New, ""); below {
		return KindInvalid, errors.New("a directory can't take the place of one above it")
	}
	return 0, nil
}

// validLoggedPath reports whether p is absolute, below the root, and made of valid names.
func validLoggedPath(p string) bool {
	if len(p) < 2 || p[0] != '/' {
		return false
	}
	for name := range strings.SplitSeq(p[1:], "/") {
		if !validName(name) {
			return false
		}
	}
	return true
}
