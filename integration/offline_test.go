package integration

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// readOnlyStore binds the volume's store read-only elsewhere and returns a volume there.
func (v *volume) readOnlyStore() *volume {
	v.t.Helper()
	if os.Geteuid() != 0 {
		v.t.Skip("a read-only store takes a bind mount, which takes root")
	}
	at := v.t.TempDir()
	must(v.t, unix.Mount(v.Back, at, "", unix.MS_BIND, ""))
	v.t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	must(v.t, unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	return &volume{t: v.t, State: v.State, Back: at}
}

func TestReadOnlyStoreIsReadAndCheckedButNotWritten(t *testing.T) {
	v := newVolume(t)
	src := filepath.Join(t.TempDir(), "src")
	write(t, src, "content")
	v.kmsfs("cp", src, v.Back+":/file")
	ro := v.readOnlyStore()
	if got := ro.kmsfs("cat", ro.Back+":/file"); got != "content" {
		t.Errorf("cat: %q", got)
	}
	wantText(t, ro.kmsfs("fsck", ro.Back), "clean")
	wantText(t, ro.refused(1, "cp", src, ro.Back+":/other"), "begin to write to volume")
	must(t, os.WriteFile(filepath.Join(v.Back, "kmsfs.tmp-1"), nil, 0o600))
	out, _, err := ro.try("fsck", "--repair", ro.Back)
	if exitOf(err) != 4 || !strings.Contains(out, "not reclaimed") {
		t.Errorf("repair of a read-only store: %v, %s", err, out)
	}
}

func exitOf(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// A copy that is killed leaves what was there, and what it began is an orphan.
func TestKilledCopyLeavesTheOldFileAndAnOrphan(t *testing.T) {
	v := newVolume(t)
	src := filepath.Join(t.TempDir(), "src")
	write(t, src, "old")
	v.kmsfs("cp", src, v.Back+":/file")
	v.killedCopy(v.Back + ":/file")
	if got := v.kmsfs("cat", v.Back+":/file"); got != "old" {
		t.Errorf("after the kill: %q", got)
	}
	out, _, err := v.try("fsck", v.Back)
	if exitOf(err) != 4 || !strings.Contains(out, "orphan temporary") || strings.Contains(out, "damage") {
		t.Errorf("fsck: %v, %s", err, out)
	}
	if _, _, err = v.try("fsck", "--repair", v.Back); exitOf(err) != 1 {
		t.Errorf("repair: %v", err)
	}
	v.mount()
	wantContent(t, v.path("file"), "old")
	v.umount()
	wantText(t, v.kmsfs("fsck", v.Back), "clean")
}

// killedCopy kills a copy from standard input to a path after a part of it.
func (v *volume) killedCopy(to string) {
	v.t.Helper()
	cmd := exec.Command(binary, "cp", "-", to)
	cmd.Env = append(os.Environ(), "KMSFS_STATE_DIR="+v.State)
	in, err := cmd.StdinPipe()
	must(v.t, err)
	must(v.t, cmd.Start())
	_, err = io.WriteString(in, strings.Repeat("new", 10<<20))
	must(v.t, err)
	for range 100 { // it has read nearly all of it; its file is there
		if found, _ := filepath.Glob(filepath.Join(v.Back, "kmsfs.tmp-*")); len(found) > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	must(v.t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	in.Close()
}
