package ledger

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Accept forgets what is known of files, directories and the rename log, so that the store is learned
// as it is: after a restore from a backup. The mounts and volume files that were seen stay.
func (l *Ledger) Accept() error {
	if l == nil || l.readOnly {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.files, l.state.dirs = make(map[ID]fileState), make(map[ID]dirState)
	l.state.renames, l.state.renameID = 0, ID{}
	l.accepting = true
	return l.compact()
}

// Learned says that all files and directories in a directory have been looked at.
func (l *Ledger) Learned(id ID) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.live[id]; v != nil && v.known && !v.whole {
		v.whole, v.changed = true, true
		v.gen++
	}
}

// Remove deletes a ledger that is not in use.
func Remove(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return ErrInUse
	}
	return os.Remove(path)
}

// Summary is what a ledger holds, in numbers.
type Summary struct {
	Path        string    `json:"path"`
	Bytes       int64     `json:"bytes"`
	Written     time.Time `json:"written"`
	Files       int       `json:"files"`
	Directories int       `json:"directories"`
	InFlux      int       `json:"inFlux"` // directories that may have changed since they were recorded
	Mounts      int       `json:"mounts"`
	Open        bool      `json:"open"` // a mount is running, or ended without a word
	Renames     uint64    `json:"renames"`
}

// Summarize reads a ledger without its lock and without a key.
func Summarize(path string) (Summary, error) {
	f, err := os.Open(path)
	if err != nil {
		return Summary{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return Summary{}, err
	}
	st, err := f.Stat()
	if err != nil {
		return Summary{}, err
	}
	s := newState(0)
	if _, err := s.replay(volumeOf(b), b); err != nil {
		return Summary{}, err
	}
	out := Summary{Path: path, Bytes: st.Size(), Written: st.ModTime(), Files: len(s.files), Directories: len(s.dirs),
		Mounts: len(s.mounts), Open: s.open, Renames: s.renames}
	for _, d := range s.dirs {
		if d.flux || s.fluxAll || s.doubted {
			out.InFlux++
		}
	}
	return out, nil
}

// volumeOf is the volume that the first record names, zero if there is none.
func volumeOf(b []byte) ID {
	records, _, ok := unframe(b)
	if !ok {
		return ID{}
	}
	r, _, err := decode(records)
	if err != nil || r.kind != recHeader {
		return ID{}
	}
	return r.id
}
