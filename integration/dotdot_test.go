package integration

import (
	le "encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListingNamesTheParentsInode(t *testing.T) {
	v := mountedVolume(t)
	must(t, os.MkdirAll(v.path("dir", "sub"), 0o755))
	for dir, parent := range map[string]string{"dir/sub": "dir", "dir": "", "": ""} {
		var st unix.Stat_t
		must(t, unix.Stat(v.path(parent), &st))
		if got := dotDot(t, v.path(dir)); got != st.Ino {
			t.Errorf("%q: .. is %d, want %d", dir, got, st.Ino)
		}
	}
}

// dotDot returns the inode number that a listing of dir gives for "..".
func dotDot(t *testing.T, dir string) uint64 {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	buf := make([]byte, 4096)
	n, err := unix.Getdents(int(f.Fd()), buf)
	must(t, err)
	for b := buf[:n]; len(b) > 21; b = b[le.LittleEndian.Uint16(b[16:]):] {
		if string(b[19:22]) == "..\x00" {
			return le.LittleEndian.Uint64(b)
		}
	}
	t.Fatal("no entry ..")
	return 0
}
