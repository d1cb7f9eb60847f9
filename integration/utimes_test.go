package integration

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A commit puts back the time of the last change, which its own writing moves: not an older one than
// the application has just set.
func TestTimeSetDuringACommitStays(t *testing.T) {
	v := mountedVolume(t, "--plaintext-names")
	f, err := os.Create(v.path("file"))
	must(t, err)
	defer f.Close()
	for i := range 3000 {
		_, err := f.WriteAt([]byte{byte(i)}, 0)
		must(t, err)
		must(t, unix.SyncFileRange(int(f.Fd()), 0, 0, 7))
		fd, err := unix.Dup(int(f.Fd()))
		must(t, err)
		flushed := make(chan error)
		go func() { flushed <- unix.Close(fd) }() // a commit
		at := time.Unix(1_000_000_000+int64(i), 0)
		must(t, os.Chtimes(v.path("file"), at, at))
		must(t, <-flushed)
		info, err := os.Stat(filepath.Join(v.Back, "file"))
		must(t, err)
		if !info.ModTime().Equal(at) {
			t.Fatalf("round %d: the store says %v, want %v", i, info.ModTime(), at)
		}
	}
}
