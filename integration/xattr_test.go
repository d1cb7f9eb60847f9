package integration

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExtendedAttributesOfARemovedFileInUse(t *testing.T) {
	v := mountedVolume(t)
	f, err := os.Create(v.path("file"))
	must(t, err)
	defer f.Close()
	fd := int(f.Fd())
	must(t, unix.Fsetxattr(fd, "user.before", []byte("1"), 0))
	must(t, os.Remove(v.path("file")))
	must(t, unix.Fsetxattr(fd, "user.after", []byte("22"), unix.XATTR_CREATE))
	wantErrno(t, "creating it again", unix.Fsetxattr(fd, "user.after", []byte("3"), unix.XATTR_CREATE), unix.EEXIST)
	for attr, want := range map[string]string{"user.before": "1", "user.after": "22"} {
		buf := make([]byte, 10)
		n, err := unix.Fgetxattr(fd, attr, buf)
		must(t, err)
		if string(buf[:n]) != want {
			t.Errorf("%s: %q, want %q", attr, buf[:n], want)
		}
	}
	must(t, unix.Fremovexattr(fd, "user.before"))
	buf := make([]byte, 100)
	n, err := unix.Flistxattr(fd, buf)
	must(t, err)
	if string(buf[:n]) != "user.after\x00" {
		t.Errorf("attributes %q", buf[:n])
	}
}
