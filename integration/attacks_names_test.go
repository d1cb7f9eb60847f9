package integration

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// attackVacatedPath copies a file below a directory that was renamed to the same name below a new
// directory that has taken the old one's path.
func attackVacatedPath(t *testing.T) {
	for name, flags := range namesModes {
		t.Run(name, func(t *testing.T) {
			v := mountedVolume(t, flags...)
			must(t, os.Mkdir(v.path("d"), 0o755))
			write(t, v.path("d/x"), "of e")
			must(t, os.Rename(v.path("d"), v.path("e")))
			must(t, os.Mkdir(v.path("d"), 0o755))
			write(t, v.path("d/x"), "of the new d")
			from, to := v.storePath("e/x"), v.storePath("d/x")
			copyFile(t, from, to)
			v.remount()
			wantRejected(t, v.path("d/x"))
			wantContent(t, v.path("e/x"), "of e")
		})
	}
}

// attackNameOfKnownInode gives a file another name in the store while the mount knows its inode, so
// that the kernel could open it under the one through the other.
func attackNameOfKnownInode(t *testing.T) {
	for how, move := range map[string]func(from, to string) error{"link": os.Link, "rename": os.Rename} {
		for _, opened := range []bool{false, true} {
			v := mountedVolume(t, "--plaintext-names")
			write(t, v.path("a"), "content of a")
			write(t, v.path("c"), "content of c")
			must(t, os.Link(v.path("c"), v.path("c2")))
			v.remount()
			wantContent(t, v.path("a"), "content of a")
			if opened {
				f, err := os.Open(v.path("a"))
				must(t, err)
				defer f.Close()
			}
			must(t, move(filepath.Join(v.Back, "a"), filepath.Join(v.Back, "b")))
			t.Logf("%s, opened %v", how, opened)
			for range 2 {
				if _, err := os.Lstat(v.path("b")); err != nil {
					t.Errorf("stat: %v", err)
				}
				wantRejected(t, v.path("b"))
			}
			must(t, os.Rename(filepath.Join(v.Back, "b"), filepath.Join(v.Back, "a")))
			wantContent(t, v.path("a"), "content of a")
			wantContent(t, v.path("c2"), "content of c")
			wantContent(t, v.path("c"), "content of c")
		}
	}
}

// attackNameSeenFirst is the same when the name without key slot is looked up before the right one.
func attackNameSeenFirst(t *testing.T) {
	v := withoutLedger(t, "--plaintext-names")
	write(t, v.path("a"), "content of a")
	v.umount()
	must(t, os.Link(filepath.Join(v.Back, "a"), filepath.Join(v.Back, "b")))
	v.mount()
	_, err := os.Lstat(v.path("b"))
	must(t, err)
	wantContent(t, v.path("a"), "content of a")
	wantRejected(t, v.path("b"))
	wantContent(t, v.path("a"), "content of a")
	must(t, unix.Unlink(v.path("b")))
	wantContent(t, v.path("a"), "content of a")
}
