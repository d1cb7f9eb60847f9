package integration

import (
	"bufio"
	bin "encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// steadyWriter appends 8-byte numbers to a file, one each millisecond, and prints what it has written
// with the time, until it fails: PATH [fsync]. With fsync it syncs each before it tells.
func steadyWriter(args []string) error {
	f, err := os.OpenFile(args[0], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	sync := len(args) > 1
	for n := uint64(0); ; n++ {
		if _, err := f.Write(bin.LittleEndian.AppendUint64(nil, n)); err != nil {
			return nil // the daemon was killed
		}
		if sync {
			if err := f.Sync(); err != nil {
				return nil
			}
		}
		fmt.Printf("%d %d\n", n, time.Now().UnixNano())
		time.Sleep(time.Millisecond)
	}
}

// written is one number that a writer has told of.
type written struct {
	n  uint64
	at time.Time
}

// collect reads what a writer tells.
func collect(t *testing.T, cmd *exec.Cmd) func() []written {
	t.Helper()
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	done := make(chan []written, 1)
	go func() {
		var all []written
		for s := bufio.NewScanner(pipe); s.Scan(); {
			var w written
			var nano int64
			if _, err := fmt.Sscan(s.Text(), &w.n, &nano); err != nil {
				break
			}
			w.at = time.Unix(0, nano)
			all = append(all, w)
		}
		done <- all
	}()
	return func() []written {
		time.Sleep(100 * time.Millisecond) // it ends by itself at a failed fsync; the kernel's cache takes writes forever
		cmd.Process.Kill()
		all := <-done
		cmd.Wait()
		return all
	}
}

// numbers reads back what steadyWriter wrote; every number must be in its place.
func numbers(t *testing.T, path string) uint64 {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	for i := 0; i+8 <= len(b); i += 8 {
		if n := bin.LittleEndian.Uint64(b[i:]); n != uint64(i/8) {
			t.Fatalf("%s: number %d in place %d", filepath.Base(path), n, i/8)
		}
	}
	if len(b)%8 != 0 {
		t.Fatalf("%s: half a number at the end, %d bytes", filepath.Base(path), len(b))
	}
	return uint64(len(b) / 8)
}

func TestKilledDaemonLosesAtMostASecond(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("before"), strings.Repeat("before", 5000))
	syncing, plain := startWorker(t, "writer", v.path("synced"), "fsync"), startWorker(t, "writer", v.path("plain"))
	synced, unsynced := collect(t, syncing), collect(t, plain)
	time.Sleep(3500 * time.Millisecond)
	killed := time.Now()
	must(t, unix.Kill(v.daemonPID(), unix.SIGKILL))
	told, toldPlain := synced(), unsynced()
	_, err := os.Stat(v.path("before"))
	wantErrno(t, "stat on a dead mount", err, unix.ENOTCONN)
	v.umount() // a dead mount is cleared away
	v.mount()
	wantContent(t, v.path("before"), strings.Repeat("before", 5000))
	if got, want := numbers(t, v.path("synced")), uint64(len(told)); got < want || want < 50 {
		t.Errorf("%d numbers were synced, %d are there", want, got)
	}
	if len(toldPlain) == 0 {
		t.Fatal("nothing was written")
	}
	kept := uint64(0)
	const slack = 500 * time.Millisecond // of a loaded machine, for the commit itself
	for _, w := range toldPlain {
		if w.at.Before(killed.Add(-time.Second - slack)) {
			kept = w.n + 1
		}
	}
	if got := numbers(t, v.path("plain")); got < kept || kept < 100 {
		t.Errorf("%d numbers are there, %d were written over a second before the kill", got, kept)
	}
	v.remount()
	numbers(t, v.path("synced"))
}

// A kill at any moment of many changes leaves a volume that mounts and whose files all read.
func TestKilledDaemonLeavesEveryFileReadable(t *testing.T) {
	v := mountedVolume(t)
	for round := range 3 {
		must(t, os.MkdirAll(v.path("churn"), 0o755))
		var running []*exec.Cmd
		for i := range 8 {
			cmd := startWorker(t, "churn", v.path("churn"), "30", fmt.Sprint(100*round+i))
			must(t, cmd.Start())
			running = append(running, cmd)
		}
		time.Sleep(time.Duration(700+400*round) * time.Millisecond)
		must(t, unix.Kill(v.daemonPID(), unix.SIGKILL))
		for _, cmd := range running {
			cmd.Process.Kill()
			cmd.Wait()
		}
		v.umount()
		v.mount()
		treeDigest(t, v.Mnt)
		v.waitNoKeys()
	}
	sh(t, v.Mnt, "rm -rf churn && test -z \"$(ls -A)\"")
}

// The daemon makes the kernel write out dirty pages, which it has to answer itself: a kill at that
// moment must not leave a process and a mount that wait for each other.
func TestDaemonKilledDuringWriteOutEnds(t *testing.T) {
	v := mountedVolume(t)
	pid := v.daemonPID()
	dd := exec.Command("dd", "if=/dev/zero", "of="+v.path("big"), "bs=1M", "count=4000")
	must(t, dd.Start())
	defer dd.Wait()
	defer dd.Process.Kill()
	waiting := func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", pid))
		return slices.ContainsFunc(threads, func(path string) bool {
			b, _ := os.ReadFile(path)
			return strings.HasPrefix(string(b), "wb_wait_for_completion")
		})
	}
	for end := time.Now().Add(15 * time.Second); !waiting(); {
		if time.Now().After(end) {
			t.Fatal("the daemon never waited for the kernel to write out")
		}
	}
	must(t, unix.Kill(pid, unix.SIGKILL))
	for end := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			unix.Unmount(v.Mnt, unix.MNT_FORCE) // frees the process
			t.Fatal("the killed daemon does not end")
		}
	}
	must(t, dd.Process.Kill())
	dd.Wait()
	v.umount()
	v.mount()
	must(t, openErr(v.path("big")))
}

// leftovers describes what a mount left behind.
func (v *volume) leftovers(pid int, runtime string) []string {
	v.t.Helper()
	var left []string
	if mounts(v.t, v.Mnt) {
		left = append(left, "mount")
	}
	if alive(pid) {
		left = append(left, fmt.Sprintf("process %d", pid))
	}
	filepath.WalkDir(runtime, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type() == fs.ModeSocket {
			left = append(left, "socket "+path)
		}
		return nil
	})
	return left
}

// alive reports whether a process runs; one that only waits for its parent does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	if err != nil || !strings.HasPrefix(rest, "Z") {
		return err == nil
	}
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return len(threads) > 1 // its first thread has ended, others have not
}

// privateRuntime gives the test a runtime directory of its own.
func privateRuntime(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	t.Setenv("KMSFS_RUNTIME_DIR", dir)
	return dir
}

func TestSIGTERMLeavesNothingBehind(t *testing.T) {
	runtime := privateRuntime(t)
	v := mountedVolume(t)
	write(t, v.path("file"), "content")
	_, key := v.info()
	wantGrants(t, v, key, 1)
	pid := v.daemonPID()
	must(t, unix.Kill(pid, unix.SIGTERM))
	var left []string
	eventually(t, 10*time.Second, "everything is gone", func() bool { left = v.leftovers(pid, runtime); return len(left) == 0 })
	v.mounted = false
	wantGrants(t, v, key, 0)
	v.mount()
	wantContent(t, v.path("file"), "content")
}

func TestSIGTERMWaitsForTheLastClose(t *testing.T) {
	runtime := privateRuntime(t)
	v := mountedVolume(t)
	f, err := os.Create(v.path("file"))
	must(t, err)
	defer f.Close()
	pid := v.daemonPID()
	must(t, unix.Kill(pid, unix.SIGTERM))
	eventually(t, 10*time.Second, "the mount is detached", func() bool { return !mounts(t, v.Mnt) })
	_, err = f.WriteString("written after SIGTERM")
	must(t, err)
	must(t, f.Close())
	eventually(t, 10*time.Second, "everything is gone", func() bool { return len(v.leftovers(pid, runtime)) == 0 })
	v.mounted = false
	v.mount()
	wantContent(t, v.path("file"), "written after SIGTERM")
}

func TestUmountLeavesNothingBehind(t *testing.T) {
	runtime := privateRuntime(t)
	v := mountedVolume(t)
	write(t, v.path("file"), "content")
	_, key := v.info()
	pid := v.daemonPID()
	v.umount()
	if left := v.leftovers(pid, runtime); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	wantGrants(t, v, key, 0)
}

// umount(8) does not wait for the daemon, which ends all the same.
func TestUmountOfTheSystemEndsTheDaemon(t *testing.T) {
	runtime := privateRuntime(t)
	v := mountedVolume(t)
	write(t, v.path("file"), "content")
	pid := v.daemonPID()
	sh(t, "/", "umount "+v.Mnt)
	v.mounted = false
	eventually(t, 10*time.Second, "everything is gone", func() bool { return len(v.leftovers(pid, runtime)) == 0 })
	v.mount()
	wantContent(t, v.path("file"), "content")
}

// wantGrants counts the grants of a key.
func wantGrants(t *testing.T, v *volume, key string, want int) {
	t.Helper()
	if got := strings.Count(v.kmsfs("grant", "list", "--json", key), `"GrantId"`); got != want {
		t.Errorf("%d grants, want %d:\n%s", got, want, v.kmsfs("grant", "list", "--json", key))
	}
}
