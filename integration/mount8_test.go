package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// mountTypeLink makes mount(8) find the binary under test as the helper for fuse.kmsfs.
func mountTypeLink(t *testing.T) {
	t.Helper()
	const link = "/sbin/mount.fuse.kmsfs"
	must(t, os.Symlink(binary, link))
	t.Cleanup(func() { must(t, os.Remove(link)) })
}

func TestMountByTypeWithMount8(t *testing.T) {
	mountTypeLink(t)
	v := newVolume(t)
	out, err := exec.Command("mount", "-t", "fuse.kmsfs", v.Back, v.Mnt, "-o", "noexec,allow_other,state_dir="+v.State).CombinedOutput()
	if err != nil {
		t.Fatalf("mount -t fuse.kmsfs: %v\n%s", err, out)
	}
	v.mounted = true
	t.Cleanup(v.cleanup)
	write(t, v.path("file"), "content")
	wantText(t, sh(t, "/", "findmnt -n -o FSTYPE,SOURCE,OPTIONS "+v.Mnt), "fuse.kmsfs", v.Back, "noexec", "allow_other", "nosuid")
	sh(t, "/", "umount "+v.Mnt)
	v.mounted = false
	v.mount()
	wantContent(t, v.path("file"), "content")
}

func TestMount8TellsWhyItFailed(t *testing.T) {
	mountTypeLink(t)
	v := newVolume(t)
	out, err := exec.Command("mount", "-t", "fuse.kmsfs", filepath.Join(v.Back, "none"), v.Mnt, "-o", "state_dir="+v.State).CombinedOutput()
	if err == nil {
		t.Fatal("mounts nothing")
	}
	if code := err.(*exec.ExitError).ExitCode(); code != 32 {
		t.Errorf("exit code %d, want that of a failed mount, 32", code)
	}
	v.oneLineAndHints(string(out))
}
