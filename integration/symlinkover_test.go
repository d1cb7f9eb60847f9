package integration

import (
	"os"
	"path/filepath"
	"testing"
)

// The slot of a link that a symbolic link replaced is dropped, as that of a removed one.
func attackLinkReplacedBySymlink(t *testing.T) {
	v := withoutLedger(t, "--plaintext-names")
	write(t, v.path("one"), "content")
	must(t, os.Link(v.path("one"), v.path("two")))
	must(t, os.Symlink("one", v.path("symlink")))
	must(t, os.Rename(v.path("symlink"), v.path("two")))
	v.umount()
	must(t, os.Remove(filepath.Join(v.Back, "two")))
	must(t, os.Link(filepath.Join(v.Back, "one"), filepath.Join(v.Back, "two")))
	v.mount()
	wantRejected(t, v.path("two"))
	wantContent(t, v.path("one"), "content")
}
