package ledger

import (
	"errors"
	"os"
	"path/filepath"
)

// maxQueued bounds the bytes of records that wait for space. If there are more the file is written anew.
const maxQueued = 1 << 20

// put queues records of what the state has already.
func (l *Ledger) put(records ...record) {
	if l.readOnly || l.stale {
		return
	}
	for i := range records {
		l.out = records[i].append(l.out)
	}
}

// write writes the queued records, durably if sync is set or the last write failed; mu is held. What
// could not be written stays queued, and the file ends before it.
func (l *Ledger) write(sync bool) error {
	if l.readOnly {
		return nil
	}
	err := l.send()
	if err == nil && (sync || l.failed) {
		if err = l.f.Sync(); err != nil {
			l.stale = true // what it lost is not known
		}
	}
	if err == nil && l.state.doubted {
		err = l.putHeader(false)
	}
	if l.failed = err != nil; l.failed && len(l.out) > maxQueued {
		l.stale = true
	}
	if l.stale {
		l.out = nil
	}
	return err
}

// send appends the queued records to the file.
func (l *Ledger) send() error {
	if l.stale {
		return l.compact()
	}
	if l.size == 0 {
		if err := l.appendFrame(header(l.volume, false)); err != nil {
			return err
		}
	}
	for len(l.out) > 0 {
		part, rest := split(l.out)
		if err := l.appendFrame(part); err != nil {
			return err
		}
		l.out = rest
	}
	l.out = nil
	return nil
}

func (l *Ledger) appendFrame(records []byte) error {
	f := frame(records)
	if _, err := l.f.WriteAt(f, l.size); err != nil {
		l.f.Truncate(l.size) // if this fails too, the end is a frame that is cut off
		return err
	}
	l.size += int64(len(f))
	return nil
}

// doubt says in the file that any directory may have changed since it was recorded, because a mark
// could not be written; mu is held. It takes no space, and the next write that succeeds takes it back.
func (l *Ledger) doubt() error {
	if l.state.doubted || l.size == 0 {
		return nil
	}
	err := l.putHeader(true)
	if err != nil {
		return err
	}
	if err = l.f.Sync(); err != nil {
		l.state.doubted, l.stale, l.out = false, true, nil
	}
	return err
}

// putHeader writes the first frame in place.
func (l *Ledger) putHeader(doubted bool) error {
	_, err := l.f.WriteAt(frame(header(l.volume, doubted)), 0)
	if err == nil {
		l.state.doubted = doubted
	}
	return err
}

// header is the record that makes the first frame.
func header(volume ID, doubted bool) []byte {
	r := record{kind: recHeader, n: format, id: volume}
	if doubted {
		r.n |= doubtedBit
	}
	return r.append(nil)
}

// split cuts records into what fits a frame and the rest.
func split(b []byte) (part, rest []byte) {
	n := 0
	for n < len(b) {
		size := 1 + fieldBytes[b[n]]
		if n+size > maxFrame {
			break
		}
		n += size
	}
	return b[:n:n], b[n:]
}

// Flush writes what is queued, without a device flush unless the last write failed.
func (l *Ledger) Flush() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.out) == 0 && !l.failed {
		return nil
	}
	return l.write(false)
}

// wasteful reports whether most of the file is old.
func (l *Ledger) wasteful() bool {
	need := int64(len(l.state.files)*(1+fieldBytes[recFile]) + len(l.state.dirs)*(1+fieldBytes[recDir]))
	return l.size > 2*need+(1<<20)
}

// compact writes the state into a new file that takes the place of the old; mu is held or the ledger
// is not shared yet. Queued records are part of the state.
func (l *Ledger) compact() error {
	temp := l.path + ".new"
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	next := &Ledger{path: l.path, volume: l.volume, f: f, state: newState(0)}
	next.put(l.state.records(l.volume)[1:]...)
	err = next.lock()
	if err == nil {
		err = next.write(true)
	}
	if err == nil {
		err = os.Rename(temp, l.path)
	}
	if err != nil {
		f.Close()
		os.Remove(temp)
		return err
	}
	l.f.Close()
	l.f, l.size = f, next.size
	l.out, l.stale, l.state.doubted = nil, false, false
	return syncDir(filepath.Dir(l.path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
