package integration

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A size hint from before the last change, as the loss of the attribute's update leaves it.
func TestReadOnlyMountReadsBehindAWrongSizeHintAndLeavesIt(t *testing.T) {
	v := newVolume(t, "--plaintext-names")
	store := filepath.Join(v.Back, "file")
	v.mount()
	write(t, v.path("file"), "old")
	v.umount()
	old := hint(t, store)
	v.mount()
	write(t, v.path("file"), "new and longer")
	v.umount()
	must(t, unix.Setxattr(store, "user.kmsfs.hint", old, 0))
	v.mount("-o", "ro")
	wantContent(t, v.path("file"), "new and longer")
	info, err := os.Stat(v.path("file"))
	must(t, err)
	if info.Size() != 14 {
		t.Errorf("size %d after an open", info.Size())
	}
	v.umount()
	if string(hint(t, store)) != string(old) {
		t.Error("the read-only mount has changed the store's attribute")
	}
	v.mount()
	wantContent(t, v.path("file"), "new and longer")
	v.umount()
	if string(hint(t, store)) == string(old) {
		t.Error("the wrong hint is still there after an open of a writing mount")
	}
}

func hint(t *testing.T, store string) []byte {
	t.Helper()
	buf := make([]byte, 256)
	n, err := unix.Getxattr(store, "user.kmsfs.hint", buf)
	must(t, err)
	return buf[:n]
}

// A writing mount reaches what its owner has closed to himself by changing the mode for a moment.
func TestReadOnlyMountChangesNoModeOfAnOrdinaryUsersStore(t *testing.T) {
	u := newOrdinary(t)
	u.must("mkdir plain && $K init vault && $K mount vault plain && cd plain && echo x > shut && mkdir dir && echo x > dir/file && chmod 0 shut dir")
	t.Cleanup(func() { u.sh("$K umount plain || fusermount3 -uz plain") })
	u.must("$K umount plain")
	const list = "find vault -printf '%p %m %C@\\n' | sort"
	before := sh(t, u.home, list)
	u.must("$K mount -o ro vault plain")
	u.must("stat plain/shut && ls plain")
	u.sh("cat plain/shut; ls -l plain; ls plain/dir; cat plain/dir/file; getfattr -d plain/shut")
	u.must("$K umount plain")
	if after := sh(t, u.home, list); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}
