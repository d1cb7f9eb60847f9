package fs

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

func TestSpaceIsCountedInTheStoresFragments(t *testing.T) {
	out := space(&unix.Statfs_t{Bsize: 1 << 20, Frsize: 2 * envelope.PageSize, Blocks: 100, Bfree: 50, Bavail: 40})
	if out.Blocks != 200 || out.Bfree != 100 || out.Bavail != 80 {
		t.Errorf("%d, %d and %d pages of %d", out.Blocks, out.Bfree, out.Bavail, out.Frsize)
	}
}
