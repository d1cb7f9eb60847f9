package integration

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A rotation of hard-linked snapshots gives a file a name at a path that another of its names had
// before a directory was renamed. Each name must keep its key.
func TestEachLinkKeepsItsKeyWhenPathsAreTakenOverByOtherDirectories(t *testing.T) {
	v := mountedVolume(t)
	sh(t, v.Mnt, "mkdir daily.0; echo data >daily.0/x; mv daily.0 daily.1; cp -al daily.1 daily.0")
	v.remount()
	wantContent(t, v.path("daily.0/x"), "data\n")
	wantContent(t, v.path("daily.1/x"), "data\n")
	sh(t, v.Mnt, "rm -r daily.0")
	time.Sleep(2 * time.Second) // the committer drops the slot of the removed name
	wantContent(t, v.path("daily.1/x"), "data\n")
	v.remount()
	wantContent(t, v.path("daily.1/x"), "data\n")
}

func TestSlotsOfRemovedLinksDoNotUseUpTheHeader(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("r0"), "rotated")
	for i := range 80 {
		must(t, os.Link(v.path(fmt.Sprint("r", i)), v.path(fmt.Sprint("r", i+1))))
		must(t, os.Remove(v.path(fmt.Sprint("r", i))))
	}
	wantContent(t, v.path("r80"), "rotated")
	v.remount()
	wantContent(t, v.path("r80"), "rotated")
}

func TestOpensGoOnWhileDirectoriesAreExchanged(t *testing.T) {
	v := mountedVolume(t)
	for _, dir := range []string{"a", "b"} {
		must(t, os.Mkdir(v.path(dir), 0o755))
		write(t, v.path(dir, "f"), dir)
	}
	var stop atomic.Bool
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for !stop.Load() {
			if _, err := os.ReadFile(v.path("a", "f")); err != nil {
				failed <- err
				return
			}
		}
	}()
	for range 200 {
		must(t, unix.Renameat2(unix.AT_FDCWD, v.path("a"), unix.AT_FDCWD, v.path("b"), unix.RENAME_EXCHANGE))
	}
	stop.Store(true)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	v.remount()
	wantContent(t, v.path("a", "f"), "a")
	wantContent(t, v.path("b", "f"), "b")
}
