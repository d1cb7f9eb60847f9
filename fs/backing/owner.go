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
func (d *Dir) AsOwner(op func() error) error {
	err := op()
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	mode, ok := widened(d, "", 0o700)
	if !ok {
		return err
	}
	defer d.Chmod("", mode)
	return op()
}

// entryAsOwner is AsOwner for an operation on the object name itself.
func (d *Dir) entryAsOwner(name string, op func() error) error {
	err := op()
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	mode, ok := widened(d, name, 0o600)
	if !ok {
		return err
	}
	defer d.Chmod(name, mode)
	return op()
}

// widened adds bits to the mode of what the caller owns, and returns the mode before.
func widened(d *Dir, name string, bits uint32) (mode uint32, ok bool) {
	var st unix.Stat_t
	if d.frozen || d.Stat(name, &st) != nil || int(st.Uid) != os.Geteuid() || st.Mode&bits == bits {
		return 0, false
	}
	mode = st.Mode & 0o7777
	return mode, d.Chmod(name, mode|bits) == nil
}

// asOwner is AsOwner for an operation on an open file.
func (f *File) asOwner(op func() error) error {
	err := op()
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	var st unix.Stat_t
	if f.frozen || f.Stat(&st) != nil || int(st.Uid) != os.Geteuid() || st.Mode&0o600 == 0o600 {
		return err
	}
	if f.Chmod(st.Mode&0o7777|0o600) != nil {
		return err
	}
	defer f.Chmod(st.Mode & 0o7777)
	return op()
}
