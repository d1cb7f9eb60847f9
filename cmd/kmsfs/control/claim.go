package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Server holds a mount point's claim and answers on its socket.
type Server struct {
	mountpoint string
	socket     string
	lock       *os.File
	listener   *net.UnixListener

	mu      sync.Mutex
	closing bool           // guarded by mu; no answer begins any more
	answers sync.WaitGroup // answers under way; grows under mu and before closing only
	waiting []net.Conn     // guarded by mu; clients that wait for the end of the daemon
}

// Claim takes mountpoint for this process; KindInUse says that another daemon has it. The caller
// then mounts, calls Serve, and Close at the end.
func Claim(dir, mountpoint string) (*Server, error) {
	if err := ensureDir(dir); err != nil {
		return nil, err
	}
	socket := socketPath(dir, mountpoint)
	lock, err := waitLock(lockPath(socket))
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &Error{Op: "mount at", Path: mountpoint, Kind: KindInUse, Err: errors.New("another kmsfs daemon serves this mount point"),
			Help: "see it: kmsfs status; or unmount it first: kmsfs umount " + mountpoint}
	}
	if err != nil {
		return nil, &Error{Op: "claim", Path: mountpoint, Kind: KindDir, Err: err}
	}
	s := &Server{mountpoint: mountpoint, socket: socket, lock: lock}
	if err := s.listen(); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

// listen binds the socket in place of one that a dead daemon left. The lock is held.
func (s *Server) listen() error {
	os.Remove(s.socket)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket, Net: "unix"})
	if err != nil {
		return &Error{Op: "listen for", Path: s.mountpoint, Kind: KindDir, Err: err,
			Help: "set KMSFS_RUNTIME_DIR to a short path of a directory that you can write"}
	}
	l.SetUnlinkOnClose(false) // release does it, under the lock
	s.listener = l
	return nil
}

// release removes the socket and gives the claim up.
func (s *Server) release() {
	os.Remove(s.socket)
	os.Remove(s.lock.Name())
	s.lock.Close()
}

// Close ends the claim when the requests under way are answered: the unmount that ends a daemon is
// one of them. Connections that wait for the end of the daemon stay open until it exits.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.answers.Wait()
	s.release()
	return err
}

// waitLock is takeLock with patience for a command that is sweeping, which takes far less than 1 s.
func waitLock(name string) (*os.File, error) {
	for range 20 {
		f, err := takeLock(name)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return f, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return takeLock(name)
}

// takeLock opens and locks a file without waiting. A holder removes the file before it unlocks, so
// a lock on a file that is no longer there is worth nothing and is taken anew.
func takeLock(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			return nil, err
		}
		if sameFile(f, name) {
			return f, nil
		}
		f.Close()
	}
}

// sameFile reports whether name still leads to f.
func sameFile(f *os.File, name string) bool {
	open, err1 := f.Stat()
	there, err2 := os.Lstat(name)
	return err1 == nil && err2 == nil && os.SameFile(open, there)
}

// sweep removes a socket whose daemon died and reports whether it did.
func sweep(socket string) bool {
	lock, err := takeLock(lockPath(socket))
	if err != nil {
		return false // alive, or not ours to judge
	}
	(&Server{socket: socket, lock: lock}).release()
	return true
}

// sockets lists the sockets in dir; a directory that does not exist has none.
func sockets(dir string) ([]string, error) {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(escapeGlob(dir), "*.sock"))
}
