package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What cannot be written is given up when its last name goes, and the space and the key with it, also
// while the disk stays full.
func TestRemovedFileIsGivenUpOnADiskThatStaysFull(t *testing.T) {
	v := tmpfsVolume(t, "16m")
	v.mount()
	for range 10 {
		if unwritableFile(t, v) {
			must(t, os.Remove(v.path("doomed")))
			v.waitNoKeys()
			v.umount()
			return
		}
	}
	t.Fatal("each time the file was committed before the disk was full")
}

// unwritableFile writes a file and fills the disk before the daemon has committed it. It reports
// whether the daemon still holds what it could not write.
func unwritableFile(t *testing.T, v *volume) bool {
	t.Helper()
	filler, err := os.Create(filepath.Join(filepath.Dir(v.Back), "filler"))
	must(t, err)
	defer filler.Close()
	f, err := os.Create(v.path("doomed"))
	must(t, err)
	_, err = f.Write(bytes.Repeat([]byte("lost"), 1<<20))
	must(t, err)
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	must(t, unix.SyncFileRange(int(f.Fd()), 0, 0, all)) // the daemon has it, and has not committed it
	var st unix.Statfs_t
	must(t, unix.Fstatfs(int(filler.Fd()), &st))
	must(t, unix.Fallocate(int(filler.Fd()), 0, 0, int64(st.Bavail)*st.Bsize))
	return f.Close() != nil
}
