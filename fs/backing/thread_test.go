package backing_test

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// onFirstThread runs work on the process's first thread, which nothing else uses afterwards.
func onFirstThread(t *testing.T, work func()) {
	t.Helper()
	done, stop := make(chan bool), make(chan struct{})
	defer close(stop)
	for range 1000 {
		go func() {
			runtime.LockOSThread() // never unlocked
			first := unix.Gettid() == unix.Getpid()
			if first {
				work()
			}
			done <- first
			if first {
				select {}
			}
			<-stop
		}()
		if <-done {
			return
		}
	}
	t.Skip("the first thread is not to be had twice in one process")
}

// Paths below /proc are the calling thread's: the table of open files of the process's first thread may
// be another one.
func TestOperationsDoNotDependOnTheFirstThread(t *testing.T) {
	d, _ := root(t)
	f, err := d.Create("f", 0o600)
	ok(t, err)
	defer f.Close()
	onFirstThread(t, func() {
		ok(t, unix.Unshare(unix.CLONE_FILES))
		ok(t, unix.CloseRange(3, ^uint(0), 0))
	})
	ok(t, d.SetXattr("f", "user.k", []byte("v"), 0))
	var buf [8]byte
	n, err := d.GetXattr("f", "user.k", buf[:])
	ok(t, err)
	if string(buf[:n]) != "v" {
		t.Errorf("attribute: %q", buf[:n])
	}
	ok(t, d.Utimens("", unix.Timespec{Sec: 1}, unix.Timespec{Sec: 1}))
	ok(t, d.Chmod("", 0o700))
	var st unix.Statfs_t
	ok(t, d.Statfs(&st))
}
