package integration

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// storeCalls are the system calls by which a mount changes the names and attributes of its store. A
// journaling filesystem keeps their order, so a crash between two of them is what a power loss leaves.
var storeCalls = []string{"symlinkat", "renameat2", "unlinkat", "mkdirat", "linkat", "lsetxattr", "fsetxattr", "fdatasync", "fsync", "pwrite64", "ftruncate", "openat"}

// steps are operations on the tree that prepareSteps makes.
var steps = map[string]func(*actor) error{
	"exchange directories":            func(a *actor) error { return a.swap("x", "y") },
	"exchange a file and a directory": func(a *actor) error { return a.swap("f", "y") },
	"exchange files":                  func(a *actor) error { return a.swap("f", "x/f") },
	"rename a directory":              func(a *actor) error { return a.rename("x", "y/z") },
	"rename over an empty directory":  func(a *actor) error { return a.rename("x", "empty") },
	"rename a file over another":      func(a *actor) error { return a.rename("f", "x/f") },
	"rename a file to a long name":    func(a *actor) error { return a.rename("f", strings.Repeat("l", 250)) },
	"rename a symlink":                func(a *actor) error { return a.rename("s", "y/s") },
	"rename one of two names":         func(a *actor) error { return a.rename("g", "y/g2") },
	"link":                            func(a *actor) error { return a.linkTo("f", "y/l") },
	"unlink one of two names":         func(a *actor) error { return a.removeAt("g") },
	"rmdir":                           func(a *actor) error { return a.removeAt("empty") },
	"mkdir":                           func(a *actor) error { return a.mkdirAt("x/new") },
	"create":                          func(a *actor) error { return a.createAt("x/new", 5000, true) },
	"replace": func(a *actor) error {
		if err := a.createAt("new", 5000, true); err != nil {
			return err
		}
		return a.rename("new", "f")
	},
}

// prepareSteps makes a tree for one step and takes all of it for durable: a kill loses no file.
func prepareSteps(t *testing.T, dir string, seed uint64) *actor {
	t.Helper()
	must(t, os.Mkdir(dir, 0o755))
	a := newActor(dir, seed)
	for _, d := range []string{"x", "y", "empty"} {
		must(t, a.mkdirAt(d))
	}
	for _, f := range []string{"f", "g", "x/f", "y/f"} {
		must(t, a.createAt(f, 3000, true))
	}
	must(t, a.linkTo("g", "x/g"))
	a.change("symlink s", set("s", node{target: "target"}))
	must(t, os.Symlink("target", a.path("s")))
	a.past = []snapshot{{a.ops, maps.Clone(a.tree)}}
	return a
}

// A daemon that dies before any one of its changes to the store leaves the tree as it was or as it
// was to be.
func TestCrashBetweenAnyTwoChangesOfTheStore(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 3))
	names := slices.Sorted(maps.Keys(steps))
	calls := slices.Clone(storeCalls)
	if !*long {
		rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		rng.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
		names, calls = names[:2], calls[:4]
	}
	v := mountedVolume(t)
	points := 0
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			for _, call := range calls {
				for nth := 1; ; nth++ {
					a := prepareSteps(t, v.path(fmt.Sprintf("point%d", points)), rng.Uint64())
					points++
					if !v.dieAt(t, call, nth, func() { a.err = steps[name](a) }) {
						must(t, a.err)
						break
					}
					a.check(t)
				}
			}
		})
	}
	t.Logf("%d points", points)
}

// dieAt runs op while the daemon dies before its nth system call of a kind; false says that it made
// fewer. The volume is mounted again.
func (v *volume) dieAt(t *testing.T, call string, nth int, op func()) bool {
	t.Helper()
	pid := v.daemonPID()
	var out bytes.Buffer
	tracer := exec.Command("strace", "-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"), "-p", fmt.Sprint(pid),
		"-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:error=EIO:signal=SIGKILL:when=%d", call, nth))
	tracer.Stderr = &out
	must(t, tracer.Start())
	defer tracer.Process.Kill() // its tracees go on
	eventually(t, 5*time.Second, "strace attaches", func() bool { return traced(pid) })
	op()
	tracer.Process.Kill()
	tracer.Wait() // a call of the committer's may have been the one meanwhile
	dead := unix.Kill(pid, 0) != nil || !mountedAlive(v.Mnt)
	if dead {
		v.umount()
		v.mount()
	}
	return dead
}

// mountedAlive reports whether somebody serves the mount.
func mountedAlive(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil
}

// traced reports whether all threads of a process have a tracer.
func traced(pid int) bool {
	status, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, s := range status {
		b, err := os.ReadFile(s)
		if err == nil && bytes.Contains(b, []byte("TracerPid:\t0\n")) {
			return false
		}
	}
	return len(status) > 0
}
