package backing

import (
	"errors"

	"golang.org/x/sys/unix"
)

// GetXattr reads an extended attribute of name ("" is d itself) into buf and returns its length;
// ENODATA when it is absent. A symbolic link is never followed.
func (d *Dir) GetXattr(name, attr string, buf []byte) (n int, err error) {
	err = d.entryAsOwner(name, func() (err error) {
		n, err = d.sys.GetXattr(d.fd, name, attr, buf)
		return err
	})
	return n, err
}

// SetXattr sets an extended attribute of name ("" is d itself); flags are those of setxattr(2).
func (d *Dir) SetXattr(name, attr string, value []byte, flags int) error {
	return d.entryAsOwner(name, func() error { return d.sys.SetXattr(d.fd, name, attr, value, flags) })
}

// RemoveXattr removes an extended attribute of name ("" is d itself).
func (d *Dir) RemoveXattr(name, attr string) error {
	return d.entryAsOwner(name, func() error { return d.sys.RemoveXattr(d.fd, name, attr) })
}

// ListXattr returns the names of the extended attributes of name ("" is d itself).
func (d *Dir) ListXattr(name string) ([]string, error) { return d.sys.ListXattr(d.fd, name) }

func listXattr(list func(buf []byte) (int, error)) ([]string, error) {
	for {
		size, err := list(nil)
		if err != nil || size == 0 {
			return nil, err
		}
		buf := make([]byte, size)
		n, err := list(buf)
		if errors.Is(err, unix.ERANGE) {
			continue // it grew in between
		}
		if err != nil {
			return nil, err
		}
		return splitNames(buf[:n]), nil
	}
}

func splitNames(buf []byte) []string {
	var names []string
	for len(buf) > 0 {
		name := cString(buf)
		names = append(names, name)
		buf = buf[min(len(name)+1, len(buf)):]
	}
	return names
}
