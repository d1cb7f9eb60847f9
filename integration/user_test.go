package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// ordinary is a user without privileges, with a home directory and a copy of the binary.
type ordinary struct {
	t         *testing.T
	home, exe string
}

const ordinaryUID = 65534

func newOrdinary(t *testing.T) *ordinary {
	t.Helper()
	openFUSE(t)
	dir, err := os.MkdirTemp("", "kmsfs-user-") // a test's own directory is closed to others
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	u := &ordinary{t: t, home: filepath.Join(dir, "home"), exe: filepath.Join(dir, "kmsfs")}
	must(t, os.Mkdir(u.home, 0o700))
	must(t, os.Chown(u.home, ordinaryUID, ordinaryUID))
	sh(t, dir, "cp '"+binary+"' kmsfs && chmod 755 kmsfs")
	return u
}

// openFUSE lets everybody use FUSE, as udev does and containers often do not, until the test ends.
func openFUSE(t *testing.T) {
	t.Helper()
	const device = "/dev/fuse"
	info, err := os.Stat(device)
	must(t, err)
	if info.Mode().Perm()&0o006 == 0o006 {
		return
	}
	must(t, os.Chmod(device, 0o666))
	t.Cleanup(func() { must(t, os.Chmod(device, info.Mode().Perm())) })
}

// sh runs a script as the user; $K is kmsfs.
func (u *ordinary) sh(script string) (string, error) {
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = u.home
	cmd.Env = []string{"HOME=" + u.home, "K=" + u.exe, "XDG_RUNTIME_DIR=" + u.home, "PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinaryUID, Gid: ordinaryUID}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (u *ordinary) must(script string) string {
	u.t.Helper()
	out, err := u.sh(script)
	if err != nil {
		u.t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return out
}

func TestOrdinaryUserNeedsNoPrivileges(t *testing.T) {
	u := newOrdinary(t)
	u.must("mkdir plain && $K init vault && $K mount vault plain")
	t.Cleanup(func() { u.sh("$K umount plain || fusermount3 -uz plain") })
	u.must(`cd plain && mkdir d && echo content > d/file && ln -s d/file link && cat link && chmod 600 d/file &&
mv d e && test "$(cat e/file)" = content && id -u | grep -qx ` + fmt.Sprint(ordinaryUID) + ` && test "$(stat -c %u e/file)" = ` + fmt.Sprint(ordinaryUID))
	wantText(t, u.must("$K status"), "plain")
	key := strings.TrimSpace(u.must("$K info --json vault | grep -o 'arn:[^\"]*' | head -n 1"))
	u.must("$K key disable " + key)
	out, err := u.sh("cat plain/e/file")
	if err == nil {
		t.Error("opens under a disabled key")
	}
	wantText(t, out, "Key has been revoked")
	u.must("$K key enable " + key + " && $K umount plain && test -z \"$(ls -A plain)\"")
	u.must("$K mount vault plain && test \"$(cat plain/e/file)\" = content && $K umount plain")
	if _, err := os.Stat(filepath.Join(u.home, ".local", "share", "kmsfs", "config.json")); err != nil {
		t.Errorf("the state directory is not the default one: %v", err)
	}
}

// Root, too, is another user: the kernel lets only the mounting user in.
func TestMountOfAnOrdinaryUserIsClosedToOthers(t *testing.T) {
	u := newOrdinary(t)
	u.must("mkdir plain && $K init vault && $K mount vault plain && echo content > plain/file")
	t.Cleanup(func() { u.sh("$K umount plain || fusermount3 -uz plain") })
	if b, err := os.ReadFile(filepath.Join(u.home, "plain", "file")); err == nil {
		t.Errorf("root reads %q", b)
	}
	u.must("$K umount plain")
}

func TestOrdinaryUserCannotUseAnothersState(t *testing.T) {
	v := newVolume(t)
	u := newOrdinary(t)
	out, err := u.sh("mkdir plain; $K mount --state-dir '" + v.State + "' '" + v.Back + "' plain")
	if err == nil {
		t.Fatalf("mounts root's volume: %s", out)
	}
	v.oneLineAndHints(out)
}
