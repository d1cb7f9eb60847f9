package backing

// Entry is one name in a directory of the store. Type holds the S_IFMT bits, 0 when the store does
// not tell.
type Entry struct {
	Name string
	Ino  uint64
	Type uint32
}

// List returns the entries of d in the store's order, without "." and "..".
func (d *Dir) List() ([]Entry, error) {
	var out []Entry
	err := d.Each(func(some []Entry) error {
		out = append(out, some...)
		return nil
	})
	return out, err
}

// Each is List for a directory of any size: use gets the entries some at a time, in a slice that is
// its own only until it returns. An error of use ends the listing.
func (d *Dir) Each(use func(some []Entry) error) error {
	return d.withReadable(func(fd int) error { return d.sys.List(fd, use) })
}

// appendEntries decodes linux_dirent64 records.
func appendEntries(out []Entry, buf []byte) []Entry {
	for len(buf) >= direntName {
		size := int(buf[16]) | int(buf[17])<<8
		if size < direntName || size > len(buf) {
			return out
		}
		name := cString(buf[direntName:size])
		if name != "." && name != ".." {
			out = append(out, Entry{Name: name, Ino: le64(buf), Type: uint32(buf[18]) << 12})
		}
		buf = buf[size:]
	}
	return out
}

// direntName is the offset of d_name in struct linux_dirent64.
const direntName = 19

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func le64(b []byte) uint64 {
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}
