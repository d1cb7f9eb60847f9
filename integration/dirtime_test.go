package integration

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The bookkeeping in a directory is not a change that its user made.
func TestRenameOfADirectoryKeepsItsModificationTime(t *testing.T) {
	v := mountedVolume(t)
	at := time.Unix(1_000_000_000, 0)
	for _, dir := range []string{"moved", "refused", "a", "b"} {
		must(t, os.MkdirAll(v.path(dir), 0o755))
		write(t, v.path(dir, "file"), "x")
		must(t, os.Chtimes(v.path(dir), at, at))
	}
	must(t, os.Mkdir(v.path("full"), 0o755))
	write(t, v.path("full", "file"), "x")
	must(t, os.Rename(v.path("moved"), v.path("renamed")))
	must(t, unix.Renameat2(unix.AT_FDCWD, v.path("a"), unix.AT_FDCWD, v.path("b"), unix.RENAME_EXCHANGE))
	wantErrno(t, "rename over a full directory", unix.Rename(v.path("refused"), v.path("full")), unix.ENOTEMPTY)
	v.remount() // the kernel remembers times
	for _, dir := range []string{"renamed", "a", "b", "refused"} {
		info, err := os.Stat(v.path(dir))
		must(t, err)
		if !info.ModTime().Equal(at) {
			t.Errorf("%s: modified at %v, want %v", dir, info.ModTime(), at)
		}
	}
}
