package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newKey makes a KMS key and returns its ARN.
func (v *volume) newKey() string {
	v.t.Helper()
	return strings.TrimSpace(v.kmsfs("key", "create"))
}

// rewrapResult is the part of kmsfs rewrap --json that the tests look at.
type rewrapResult struct {
	Files, Wrapped, Failed int
	Left                   []string
	Finished               bool
}

// rewrap moves the volume to another key and disables those that it has left.
func (v *volume) rewrap(key string) rewrapResult {
	v.t.Helper()
	var r rewrapResult
	out := v.kmsfs("rewrap", "--json", "--to", key, v.Back)
	must(v.t, json.Unmarshal([]byte(out), &r))
	if !r.Finished || r.Failed != 0 {
		v.t.Fatalf("rewrap: %s", out)
	}
	for _, old := range r.Left {
		v.kmsfs("key", "disable", old)
	}
	return r
}

// contents is a line for each name of a file: links and a digest of its content.
func contents(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		content, err := os.ReadFile(path)
		must(t, err)
		rel, _ := filepath.Rel(root, path)
		fmt.Fprintf(&b, "%s %d %x\n", rel, st.Nlink, sha256.Sum256(content))
		return nil
	}))
	return b.String()
}

// fillLinked makes files in directories, with hard links between them, and renames a directory.
func fillLinked(t *testing.T, root string, files int) {
	t.Helper()
	for i := range files {
		dir := filepath.Join(root, fmt.Sprint("d", i%10))
		must(t, os.MkdirAll(dir, 0o755))
		write(t, filepath.Join(dir, fmt.Sprint("f", i)), strings.Repeat(fmt.Sprint("content ", i), 1+i%100))
	}
	must(t, os.Rename(filepath.Join(root, "d0"), filepath.Join(root, "renamed")))
	for i := 1; i < files; i += 10 {
		must(t, os.Link(filepath.Join(root, "d1", fmt.Sprint("f", i)), filepath.Join(root, "renamed", fmt.Sprint("link", i))))
	}
}

func TestRewrapOfAVolumeInUseLeavesTheOldKeyBehind(t *testing.T) {
	v := mountedVolume(t)
	const files = 1000
	kept := v.path("kept")
	fillLinked(t, kept, files)
	before := contents(t, kept)
	dir := v.path("churn")
	must(t, os.Mkdir(dir, 0o755))
	var running []*exec.Cmd
	outputs := make([]bytes.Buffer, 6)
	for i := range outputs {
		cmd := startWorker(t, "churn", dir, "5", fmt.Sprint(i))
		cmd.Stdout, cmd.Stderr = &outputs[i], &outputs[i]
		must(t, cmd.Start())
		running = append(running, cmd)
	}
	open, err := os.Open(filepath.Join(kept, "d1", "f1"))
	must(t, err)
	defer open.Close()
	r := v.rewrap(v.newKey())
	if r.Files < files || r.Wrapped < files || len(r.Left) != 1 {
		t.Errorf("%+v", r)
	}
	t.Logf("%+v", r)
	for i, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Errorf("worker %d: %v: %s", i, err, outputs[i].String())
		}
	}
	must(t, open.Close())
	wantSameLines(t, before, contents(t, kept))
	all := contents(t, v.Mnt)
	v.remount()
	wantSameLines(t, all, contents(t, v.Mnt))
	v.umount()
	v.wantCopyReadable(before)
}

// wantCopyReadable mounts a copy of the store without its attributes: what a backup may be.
func (v *volume) wantCopyReadable(kept string) {
	v.t.Helper()
	c := &volume{t: v.t, State: v.State, Back: v.Back + ".copy", Mnt: v.Mnt}
	sh(v.t, filepath.Dir(v.Back), "cp -r --preserve=mode,timestamps,links back back.copy")
	c.mount()
	wantSameLines(v.t, kept, contents(v.t, c.path("kept")))
	c.umount()
}

func TestRewrapThatIsKilledIsTakenUp(t *testing.T) {
	v := mountedVolume(t)
	kept := v.path("kept")
	fillLinked(t, kept, 150)
	before := contents(t, kept)
	v.umount()
	key := v.newKey()
	kills := 12
	if *long {
		kills = 100
	}
	for i := range kills {
		cmd := exec.Command(binary, "rewrap", "--to", key, v.Back)
		cmd.Env = append(os.Environ(), "KMSFS_STATE_DIR="+v.State)
		must(t, cmd.Start())
		time.Sleep(time.Duration(40+i*15) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		if i%4 == 0 {
			v.mount()
			wantSameLines(t, before, contents(t, kept))
			v.umount()
		}
	}
	v.rewrap(key)
	v.wantOnlyKey(key)
	v.kmsfs("fsck", v.Back)
	v.mount()
	wantSameLines(t, before, contents(t, kept))
	v.umount()
	v.wantCopyReadable(before)
}

// wantOnlyKey disables every other key of the state directory, so that nothing can depend on one.
func (v *volume) wantOnlyKey(arn string) {
	v.t.Helper()
	var list struct {
		Keys []struct{ Arn string }
	}
	out := v.kmsfs("key", "list", "--json")
	must(v.t, json.Unmarshal([]byte(out), &list))
	if len(list.Keys) < 2 {
		v.t.Fatalf("keys: %s", out)
	}
	for _, k := range list.Keys {
		if k.Arn != arn {
			v.kmsfs("key", "disable", k.Arn)
		}
	}
}

func TestDaemonThatIsKilledDuringARewrapLosesNothing(t *testing.T) {
	v := mountedVolume(t)
	kept := v.path("kept")
	fillLinked(t, kept, 150)
	before := contents(t, kept)
	key := v.newKey()
	for i := range 4 {
		cmd := exec.Command(binary, "rewrap", "--to", key, v.Back)
		cmd.Env = append(os.Environ(), "KMSFS_STATE_DIR="+v.State)
		must(t, cmd.Start())
		time.Sleep(time.Duration(20+i*40) * time.Millisecond)
		must(t, unix.Kill(v.daemonPID(), unix.SIGKILL))
		cmd.Wait()
		v.umount()
		v.mount()
		wantSameLines(t, before, contents(t, kept))
	}
	v.rewrap(key)
	v.wantOnlyKey(key)
	wantSameLines(t, before, contents(t, kept))
	v.remount()
	wantSameLines(t, before, contents(t, kept))
}
