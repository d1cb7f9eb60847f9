package fs

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The thread that writes out gives up its open files. Were it the first of the process, /proc would show
// the process without them.
func TestWriteoutIsNeverOnTheFirstThread(t *testing.T) {
	met, stop := make(chan bool), make(chan struct{})
	defer close(stop)
	for range 1000 {
		go func() {
			runtime.LockOSThread()
			first := unix.Gettid() == unix.Getpid()
			beside(func() {
				if unix.Gettid() == unix.Getpid() {
					t.Error("on the first thread")
				}
				met <- first
				<-stop
			})
			if first {
				runtime.UnlockOSThread()
			}
		}()
		if <-met {
			return
		}
	}
	t.Fatal("the first thread is not to be had")
}
