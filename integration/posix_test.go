package integration

import (
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// TestMountPassesPosixSuite runs go-fuse's conformance functions, each on a fresh mount.
func TestMountPassesPosixSuite(t *testing.T) {
	for name, fn := range posixtest.All {
		t.Run(name, func(t *testing.T) {
			v := mountedVolume(t)
			fn(t, v.Mnt)
		})
	}
}
