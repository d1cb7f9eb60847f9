package fs

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kick makes the kernel send the dirty pages that it holds for this mount, and returns when it has.
func (c *committer) kick() {
	c.pause.Lock()
	defer c.pause.Unlock()
	done := make(chan struct{})
	select {
	case c.kicks <- done:
		<-done
	case <-c.stop:
	}
}

// writeout serves kick, until finish is called.
//
// What the kernel sends meanwhile is answered by this very process. Were it killed then, a thread in
// syncfs(2) would wait for the answer for ever, and keep the connection to the kernel open, whose end
// alone could wake it: neither the process nor the mount would ever end. So this is done on a thread
// whose table of open files does not have the connection.
func (c *committer) writeout() {
	beside(func() { c.serveKicks() })
}

// beside runs work on a thread of its own that is not the process's first: what /proc shows of the
// process is what it shows of that thread.
func beside(work func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		work() // not unlocked: the thread ends with the goroutine
		return
	}
	started := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(started)
		work()
	}()
	<-started
	runtime.UnlockOSThread()
}

func (c *committer) serveKicks() {
	if err := separateFiles(); err != nil {
		c.s.log.Warn("a kill during a write-out may leave a dead mount; unmount it with umount -f", "err", err)
	}
	for {
		select {
		case <-c.stop:
			return
		case done := <-c.kicks:
			c.syncMount()
			close(done)
		}
	}
}

// syncMount is syncfs(2) on the mount, if it is still there.
func (c *committer) syncMount() {
	fd, err := unix.Open(c.s.mountpoint, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return // unmounted meanwhile
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Ino == c.s.tree.root.ino {
		unix.Syncfs(fd)
	}
}

// separateFiles gives the calling thread a table of open files of its own, with nothing in it but the
// standard streams and what the Go runtime polls on any thread. The caller is locked to its thread.
func separateFiles() error {
	const table = "/proc/thread-self/fd"
	if err := unix.Unshare(unix.CLONE_FILES); err != nil {
		return err
	}
	open, err := os.ReadDir(table)
	if err != nil {
		return err
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= 2 {
			continue
		}
		target, err := os.Readlink(filepath.Join(table, entry.Name()))
		if err == nil && !strings.HasPrefix(target, "anon_inode:[event") {
			unix.Close(fd)
		}
	}
	return nil
}
