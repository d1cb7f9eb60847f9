package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// User is the superuser and Password his, over TCP.
const (
	User     = "postgres"
	Password = "correct horse"
)

// startTime bounds how long a server may take to accept connections.
const startTime = 30 * time.Second

// ports is how many ports are tried. Somebody else may take a free one first.
const ports = 3

// Server is a PostgreSQL server.
type Server struct {
	dir     string // holds data, socket and certificate
	bin     string
	account *syscall.Credential // nil = that of the test
	port    int
	running *running
	made    int // databases and schemas
}

// running is a server process.
type running struct {
	process *os.Process
	log     bytes.Buffer
	ended   chan struct{}
}

// Start makes a server and starts it. Remove ends it and removes its files.
func Start() (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kmsfs-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin}
	if err := s.create(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for range ports {
		if s.port, err = freePort(); err == nil {
			err = s.launch()
		}
		if err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(err, s.Remove())
}

// StartFor is Start for one test.
func StartFor(t testing.TB) *Server {
	t.Helper()
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Remove ends the server and removes its files.
func (s *Server) Remove() error {
	s.Stop()
	return os.RemoveAll(s.dir)
}

// Run starts the server again after Stop, at the same address, which a connection of somebody else may
// use for a moment.
func (s *Server) Run() error {
	for deadline := time.Now().Add(startTime); ; {
		err := s.launch()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// launch starts the server once.
func (s *Server) launch() error {
	r, err := s.spawn()
	if err != nil {
		return err
	}
	s.running = r
	if err := s.await(time.Now().Add(startTime)); err != nil {
		s.Stop()
		return fmt.Errorf("PostgreSQL didn't start: %w\n%s", err, &r.log)
	}
	return nil
}

// spawn starts the process. It is killed with the test: the thread that starts it stays until it has
// ended, as the kernel watches the thread.
func (s *Server) spawn() (*running, error) {
	r := &running{ended: make(chan struct{})}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", filepath.Join(s.dir, "data"), "-p", strconv.Itoa(s.port))
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &r.log, &r.log
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account, Pdeathsig: syscall.SIGQUIT}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Stop kills it
			close(r.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	r.process = cmd.Process
	return r, nil
}

// Stop ends the server at once and without a word to its clients, as a crash would.
func (s *Server) Stop() {
	if s.running == nil {
		return
	}
	_ = s.running.process.Signal(syscall.SIGQUIT) // it may have ended
	select {
	case <-s.running.ended:
	case <-time.After(startTime):
		_ = s.running.process.Kill()
		<-s.running.ended
	}
	s.running = nil
}

// await waits until the server accepts connections, or has ended.
func (s *Server) await(deadline time.Time) error {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := pgx.Connect(ctx, s.Socket("postgres"))
		if err == nil {
			err = conn.Close(ctx)
		}
		cancel()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-s.running.ended:
			return errors.New("it ended at once")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Socket is the connection string of a database over the unix socket, without a password.
func (s *Server) Socket(database string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s", s.dir, s.port, User, database)
}

// Address is where the server listens on the loopback address.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// CertificateFile is the server's certificate, for localhost, which signs itself.
func (s *Server) CertificateFile() string { return filepath.Join(s.dir, "server.crt") }

// Exec runs statements in a database.
func (s *Server) Exec(t testing.TB, database string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.Socket(database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Database makes an empty database and returns its name.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	s.made++
	name := fmt.Sprintf("test%d", s.made)
	s.Exec(t, "postgres", "CREATE DATABASE "+name)
	return name
}

// Schema makes an empty schema, which takes less time than a database, and returns a connection string
// over the unix socket for which it is all that there is.
func (s *Server) Schema(t testing.TB) string {
	t.Helper()
	s.made++
	name := fmt.Sprintf("test%d", s.made)
	s.Exec(t, "postgres", "CREATE SCHEMA "+name)
	return s.Socket("postgres") + " search_path=" + name
}

// binaries finds the newest PostgreSQL of the machine.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // Debian keeps them off the PATH
	if err != nil || len(found) == 0 {
		return "", errors.New("there is no PostgreSQL server here: apt-get install postgresql")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// freePort is a port of the loopback address that nobody uses.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// settings is what a test needs: little memory, no flushes, and orders of text that are not that of
// bytes, as on most machines.
func (s *Server) settings() string {
	return strings.Join([]string{
		"listen_addresses = '127.0.0.1'",
		fmt.Sprintf("unix_socket_directories = '%s'", s.dir),
		"fsync = off", "full_page_writes = off", "shared_buffers = 16MB", "max_connections = 60",
		"ssl = on", "ssl_cert_file = '../server.crt'", "ssl_key_file = '../server.key'",
	}, "\n") + "\n"
}
