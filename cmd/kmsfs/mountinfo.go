package main

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// mountEntry is a line of /proc/self/mountinfo, as far as it matters here.
type mountEntry struct {
	mountpoint, fsType, source string
}

// fuseType is the kernel's type of a kmsfs mount.
const fuseType = "fuse.kmsfs"

// isMounted reports whether the uppermost mount at a path is a volume's.
func isMounted(path string) bool {
	mounts := mountsAt(path)
	return len(mounts) > 0 && mounts[len(mounts)-1].fsType == fuseType
}

// allMounts returns what this process sees mounted.
func allMounts() []mountEntry {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	return readMountinfo(f)
}

// mountsAt returns what is mounted at a path, the uppermost last.
func mountsAt(path string) []mountEntry {
	var found []mountEntry
	for _, m := range allMounts() {
		if m.mountpoint == path {
			found = append(found, m)
		}
	}
	return found
}

// readMountinfo parses proc(5) mountinfo: "ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAGS] - TYPE
// SOURCE SUPER". Lines that do not look so are passed over.
func readMountinfo(r io.Reader) []mountEntry {
	var found []mountEntry
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		head, tail, ok := strings.Cut(lines.Text(), " - ")
		h, t := strings.Fields(head), strings.Fields(tail)
		if ok && len(h) >= 6 && len(t) >= 2 {
			found = append(found, mountEntry{unescapeOctal(h[4]), t[0], unescapeOctal(t[1])})
		}
	}
	return found
}

// unescapeOctal undoes the kernel's \040 for blanks and the like.
func unescapeOctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
