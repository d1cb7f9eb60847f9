package backing

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// An ordinary user's daemon must reach its bookkeeping also in objects whose mode denies that to
// their owner, such as git's read-only files. It widens the mode for the time of the call. A crash
// in between leaves the owner with more rights than before, and nobody else.

// AsOwner runs op, which works on entries of d, and once more with full rights for the owner when
// the mode of d denies it. It is for entries that the application does not see.
func (d *Dir) AsOwner(op func() error) error { return d.widened("", 0o700, op) }

// entryAsOwner is AsOwner for an operation on the object name itself.
func (d *Dir) entryAsOwner(name string, op func() error) error { return d.widened(name, 0o600, op) }

func (d *Dir) widened(name string, bits uint32, op func() error) error {
	err := op()
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	var st unix.Stat_t
	if d.frozen || d.Stat(name, &st) != nil || !lacks(&st, bits) || d.Chmod(name, st.Mode&0o7777|bits) != nil {
		return err
	}
	defer d.Chmod(name, st.Mode&0o7777)
	return op()
}

// lacks reports whether the caller owns an object and its mode lacks any of bits.
func lacks(st *unix.Stat_t, bits uint32) bool {
	return int(st.Uid) == os.Geteuid() && st.Mode&bits != bits
}

// asOwner is AsOwner for an operation on an open file.
func (f *File) asOwner(op func() error) error {
	err := op()
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	var st unix.Stat_t
	if f.frozen || f.Stat(&st) != nil || !lacks(&st, 0o600) || f.Chmod(st.Mode&0o7777|0o600) != nil {
		return err
	}
	defer f.Chmod(st.Mode & 0o7777)
	return op()
}
