package integration

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// soon is what an interrupted process may still wait.
const soon = 3 * time.Second

// waiters are system calls that wait for the key service.
var waiters = map[string]func(v *volume) error{
	"open": func(v *volume) error { return opened(v.path("file"), unix.O_RDONLY) },
	"open to write": func(v *volume) error {
		return opened(v.path("file"), unix.O_WRONLY|unix.O_TRUNC)
	},
	"create":   func(v *volume) error { return opened(v.path("new"), unix.O_WRONLY|unix.O_CREAT) },
	"mknod":    func(v *volume) error { return unix.Mknod(v.path("new"), unix.S_IFREG|0o600, 0) },
	"rename":   func(v *volume) error { return unix.Rename(v.path("file"), v.path("new")) },
	"exchange": func(v *volume) error { return exchange(v.path("file"), v.path("dir", "other")) },
	"link":     func(v *volume) error { return unix.Link(v.path("file"), v.path("new")) },
	"truncate": func(v *volume) error { return unix.Truncate(v.path("file"), 3) },
	"setxattr": func(v *volume) error { return unix.Setxattr(v.path("file"), "user.kmsfs.compress", []byte("zstd"), 0) },
}

func opened(path string, flags int) error {
	fd, err := unix.Open(path, flags, 0o600)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// hanging makes a mounted volume with two files, whose key service does not answer any more.
func hanging(t *testing.T) *remoteVolume {
	r := newRemoteVolume(t)
	r.mount("-o", "key_wait=15s")
	must(t, os.Mkdir(r.path("dir"), 0o755))
	write(t, r.path("file"), "content")
	write(t, r.path("dir", "other"), "other content")
	r.waitNoKeys()
	r.net.set(fault{hang: true})
	t.Cleanup(func() { r.net.set(fault{}); r.cleanup() })
	return r
}

// whole checks that no interrupted call has left anything behind.
func (r *remoteVolume) whole() {
	r.t.Helper()
	r.net.set(fault{})
	wantContent(r.t, r.path("file"), "content")
	wantContent(r.t, r.path("dir", "other"), "other content")
	if _, err := os.Lstat(r.path("new")); !errors.Is(err, os.ErrNotExist) {
		r.t.Fatalf("the name that was not made: %v", err)
	}
}

// noCalls waits until no connection to the key service is left: the call itself was ended.
func (r *remoteVolume) noCalls() {
	r.t.Helper()
	for try := 0; r.net.open() > 0; try++ {
		if try == 100 {
			r.t.Fatalf("%d connections to the key service", r.net.open())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// interrupted calls f on a thread of its own, sends the thread a signal, and returns what f did and when.
func interrupted(t *testing.T, f func() error) (time.Duration, error) {
	t.Helper()
	return interruptedAt(t, 300*time.Millisecond, f)
}

// interruptedAt is interrupted with the signal after some time.
func interruptedAt(t *testing.T, after time.Duration, f func() error) (time.Duration, error) {
	t.Helper()
	got := make(chan os.Signal, 1)
	signal.Notify(got, unix.SIGUSR1)
	defer signal.Stop(got)
	tid, result := make(chan int), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid <- unix.Gettid()
		result <- f()
	}()
	thread := <-tid
	time.Sleep(after)
	select {
	case err := <-result:
		t.Fatalf("it did not wait for the key service: %v", err)
	default:
	}
	start := time.Now()
	must(t, unix.Tgkill(unix.Getpid(), thread, unix.SIGUSR1))
	err := <-result
	return time.Since(start), err
}

func TestSignalEndsTheWaitForAKeyServiceThatHangs(t *testing.T) {
	r := hanging(t)
	for name, call := range waiters {
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.net.down() // idle connections
			r.net.up()
			r.net.set(fault{hang: true})
			took, err := interrupted(t, func() error { return call(r.volume) })
			wantErrno(t, name, err, unix.EINTR)
			if took > soon {
				t.Errorf("it came back after %v", took)
			}
			r.noCalls()
			r.whole()
		})
	}
	r.t = t
	r.remount()
	r.whole()
	must(t, unix.Rename(r.path("file"), r.path("new")))
	wantContent(t, r.path("new"), "content")
	r.umount()
	r.kmsfs("fsck", "--endpoint", "http://"+r.net.addr, r.Back)
}

// A process that is killed does not stay until the key service answers.
func TestKilledProcessDoesNotWaitForTheKeyService(t *testing.T) {
	r := hanging(t)
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGINT, unix.SIGTERM} {
		for name, script := range map[string]string{"open": "exec cat file", "create": ": >new", "rename": "exec mv file new"} {
			t.Run(name+" "+unix.SignalName(sig), func(t *testing.T) {
				r.t = t
				r.net.set(fault{hang: true})
				cmd := exec.Command("bash", "-c", script)
				cmd.Dir = r.Mnt
				must(t, cmd.Start())
				time.Sleep(300 * time.Millisecond)
				start := time.Now()
				must(t, cmd.Process.Signal(sig))
				var ended *exec.ExitError
				if err := cmd.Wait(); !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != sig {
					t.Errorf("it ended with %v", err)
				}
				if took := time.Since(start); took > soon {
					t.Errorf("it ended after %v", took)
				}
				r.whole()
			})
		}
	}
	r.t = t
}

// What waits for the key service holds nothing that others need.
func TestExchangeThatWaitsHoldsNoOtherRenameBack(t *testing.T) {
	r := hanging(t)
	for _, dir := range []string{"place", "place/d", "elsewhere", "elsewhere/a"} {
		must(t, os.Mkdir(r.path(dir), 0o755))
	}
	r.net.set(fault{})
	write(t, r.path("place", "f"), "content")
	r.net.set(fault{hang: true})
	waiting := make(chan error)
	go func() { waiting <- exchange(r.path("place", "d"), r.path("place", "f")) }()
	time.Sleep(300 * time.Millisecond)
	start := time.Now()
	must(t, os.Rename(r.path("elsewhere", "a"), r.path("elsewhere", "b")))
	if took := time.Since(start); took > soon {
		t.Errorf("the other rename took %v", took)
	}
	r.net.set(fault{})
	r.net.down()
	r.net.up()
	if err := <-waiting; err != nil && !errors.Is(err, unix.EINTR) {
		t.Errorf("exchange: %v", err)
	}
	r.remount()
	if got := cat(r.path("place", "d")) + cat(r.path("place", "f")); !strings.Contains(got, "content") {
		t.Errorf("after it: %s", got)
	}
}

// What a signal ends is the call of the process that got it.
func TestInterruptedOpenDisturbsNoOtherOpen(t *testing.T) {
	r := hanging(t)
	result := make(chan error)
	for range 5 {
		go func() { result <- opened(r.path("file"), unix.O_RDONLY) }()
	}
	_, err := interrupted(t, func() error { return opened(r.path("file"), unix.O_RDONLY) })
	wantErrno(t, "interrupted open", err, unix.EINTR)
	r.net.set(fault{})
	r.net.down() // what was swallowed is not answered
	r.net.up()
	for range 5 {
		must(t, <-result)
	}
}

// Programs get signals that they do not expect to disturb an open(2), all the time.
func TestSignalDoesNotFailAnOpenThatIsAnswered(t *testing.T) {
	r := hanging(t)
	r.net.set(fault{delay: 50 * time.Millisecond})
	for range 10 {
		_, err := interruptedAt(t, 20*time.Millisecond, func() error { return opened(r.path("file"), unix.O_RDONLY) })
		must(t, err)
	}
}

func TestInterruptedCommandDoesNotWaitForTheKeyService(t *testing.T) {
	r := newRemoteVolume(t)
	r.kmsfs("cp", "--endpoint", "http://"+r.net.addr, "/etc/hostname", r.Back+":/file")
	r.net.set(fault{hang: true})
	for name, args := range map[string][]string{
		"cat":      {"cat", r.Back + ":/file"},
		"mount":    {"mount", r.Back, r.Mnt},
		"fsck":     {"fsck", r.Back},
		"rewrap":   {"rewrap", r.Back},
		"key list": {"key", "list"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(binary, append(args, "--endpoint", "http://"+r.net.addr)...)
			cmd.Env = append(slices.Clip(r.env), "KMSFS_STATE_DIR="+r.State)
			must(t, cmd.Start())
			time.Sleep(500 * time.Millisecond)
			start := time.Now()
			must(t, cmd.Process.Signal(unix.SIGINT))
			if err := cmd.Wait(); err == nil {
				t.Error("it succeeded")
			}
			if took := time.Since(start); took > soon {
				t.Errorf("it ended after %v", took)
			}
		})
	}
}
