package integration

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A directory takes its group and the setgid bit from a setgid directory, whatever its mode is.
func TestNewDirectoryInASetgidDirectoryIsSetgid(t *testing.T) {
	v := mountedVolume(t)
	must(t, os.Mkdir(v.path("shared"), 0o755))
	must(t, os.Chown(v.path("shared"), 0, 1234))
	must(t, unix.Chmod(v.path("shared"), unix.S_ISGID|0o775))
	for name, mode := range map[string]uint32{"wide": 0o755, "narrow": 0o050, "none": 0} {
		must(t, unix.Mkdir(v.path("shared", name), mode))
		var st unix.Stat_t
		must(t, unix.Stat(v.path("shared", name), &st))
		if got, want := st.Mode&0o7777, unix.S_ISGID|mode; got != want || st.Gid != 1234 {
			t.Errorf("%s: mode %o and group %d, want %o and 1234", name, got, st.Gid, want)
		}
	}
}

func TestRefusedCreateLeavesNothingOfALongName(t *testing.T) {
	v := mountedVolume(t)
	_, key := v.info()
	v.kmsfs("key", "disable", key)
	before := sh(t, v.Back, "find . | sort")
	err := os.WriteFile(v.path(strings.Repeat("long", 60)), nil, 0o644)
	wantErrno(t, "create", err, unix.EKEYREVOKED)
	if after := sh(t, v.Back, "find . | sort"); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
	v.kmsfs("key", "enable", key)
}
