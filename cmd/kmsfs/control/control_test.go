package control

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/fs"
)

// mountStub stands for the mount: what it answers is the test's input.
type mountStub struct {
	status  Status
	unmount error
	stopped chan struct{} // closed when a rewrap was stopped
}

func (m mountStub) Status() Status { return m.status }
func (m mountStub) Unmount() error { return m.unmount }

func (m mountStub) Rewrap(ctx context.Context, req RewrapRequest, progress func(int64), failed func(*Failure)) (fs.RewrapResult, *Failure) {
	progress(7)
	failed(&Failure{Message: "one file"})
	if req.KeyID == "wait" {
		<-ctx.Done()
		close(m.stopped)
	}
	if req.KeyID == "bad" {
		return fs.RewrapResult{Files: 1}, &Failure{Message: "no such key", Exit: 3, Hints: []string{"try another"}}
	}
	return fs.RewrapResult{KeyARN: req.KeyID, Finished: true}, nil
}

func claim(t *testing.T, dir, mountpoint string) *Server {
	t.Helper()
	s, err := Claim(dir, mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// runtimeDir is short, because socket names are limited to 107 bytes.
func runtimeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "run")
}

func TestStatusOfAClaimedMountPointIsFoundByItsPath(t *testing.T) {
	dir := runtimeDir(t)
	want := Status{PID: 7, Status: fs.Status{Volume: "vol-1", Mountpoint: "/mnt/ä b", KeysHeld: 1, Files: []fs.OpenFile{{Path: "/a", Handles: 2}}}}
	s := claim(t, dir, want.Mountpoint)
	go s.Serve(mountStub{status: want})
	c, err := Find(dir, want.Mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Status(context.Background())
	if err != nil || got.Volume != want.Volume || got.Files[0] != want.Files[0] || got.PID != 7 {
		t.Fatalf("status %+v, %v", got, err)
	}
	if _, err := Find(dir, "/mnt/other"); !errors.Is(err, &Error{Kind: KindNoDaemon}) {
		t.Fatalf("another mount point: %v", err)
	}
}

func TestSecondClaimOfAMountPointIsRefused(t *testing.T) {
	dir := runtimeDir(t)
	s := claim(t, dir, "/mnt")
	if _, err := Claim(dir, "/mnt"); !errors.Is(err, &Error{Kind: KindInUse}) {
		t.Fatalf("second claim: %v", err)
	}
	s.Close()
	claim(t, dir, "/mnt")
}

func TestSocketOfADeadDaemonIsSwept(t *testing.T) {
	dir := runtimeDir(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := socketPath(dir, "/mnt")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if alive, err := List(dir); err != nil || len(alive) != 0 {
		t.Fatalf("List: %d daemons, %v", len(alive), err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the dead socket is still there: %v", err)
	}
	claim(t, dir, "/mnt")
}

func TestBusyMountRefusesToUnmount(t *testing.T) {
	dir := runtimeDir(t)
	s := claim(t, dir, "/mnt")
	go s.Serve(mountStub{unmount: syscall.EBUSY})
	c, err := Find(dir, "/mnt")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Unmount(context.Background()); !errors.Is(err, &Error{Kind: KindBusy}) {
		t.Fatalf("unmount: %v", err)
	}
}

func TestUnmountWaitsForTheEndOfTheDaemon(t *testing.T) {
	dir := runtimeDir(t)
	s := claim(t, dir, "/mnt")
	go s.Serve(mountStub{}) // this process is the daemon, and it does not end
	c, err := Find(dir, "/mnt")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := c.Unmount(ctx); !errors.Is(err, &Error{Kind: KindIO}) {
		t.Fatalf("unmount of a daemon that stays: %v", err)
	}
}

// slowMount answers after its daemon has begun to end.
type slowMount struct {
	mountStub
	ending chan struct{}
}

func (m slowMount) Status() Status { return Status{} }

func (m slowMount) Unmount() error {
	close(m.ending)
	time.Sleep(50 * time.Millisecond)
	return syscall.EBUSY
}

func TestCloseWaitsForTheAnswerUnderWay(t *testing.T) {
	dir := runtimeDir(t)
	s := claim(t, dir, "/mnt")
	m := slowMount{ending: make(chan struct{})}
	go s.Serve(m)
	c, err := Find(dir, "/mnt")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- c.Unmount(context.Background()) }()
	<-m.ending
	s.Close()
	select {
	case err := <-answered:
		if !errors.Is(err, &Error{Kind: KindBusy}) {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("no answer")
	}
}

func TestRequestsThatComeWhileTheDaemonEndsDoNotRace(t *testing.T) {
	dir := runtimeDir(t)
	for range 50 {
		s, err := Claim(dir, "/mnt")
		if err != nil {
			t.Fatal(err)
		}
		go s.Serve(mountStub{})
		c := &Client{socket: socketPath(dir, "/mnt"), name: "/mnt"}
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			c.Status(context.Background()) // answered or cut off, either is right
		}()
		s.Close()
		<-asked
	}
}

func TestUnmountOfADaemonThatEndsMeanwhileSucceeds(t *testing.T) {
	dir := runtimeDir(t)
	s := claim(t, dir, "/mnt")
	go func() { // ends without an answer, as a daemon does whose mount is gone
		conn, err := s.listener.AcceptUnix()
		if err == nil {
			bufio.NewReader(conn).ReadByte()
			conn.Close()
		}
	}()
	c, err := Find(dir, "/mnt")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Unmount(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestRuntimeDirThatOthersCanEnterIsRefused(t *testing.T) {
	dir := runtimeDir(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Claim(dir, "/mnt"); !errors.Is(err, &Error{Kind: KindDir}) {
		t.Fatalf("claim in a directory with mode 0755: %v", err)
	}
	if _, err := List(dir); !errors.Is(err, &Error{Kind: KindDir}) {
		t.Fatalf("list of a directory with mode 0755: %v", err)
	}
}

func TestRuntimeDirPrefersTheSessionDirectory(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	for _, c := range []struct {
		name string
		env  map[string]string
		uid  int
		want string
	}{
		{"root", nil, 0, "/run/kmsfs"},
		{"user with session", map[string]string{"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/kmsfs"},
		{"user without session", nil, 7, filepath.Join(os.TempDir(), "kmsfs-7")},
		{"named", map[string]string{"KMSFS_RUNTIME_DIR": "/x", "XDG_RUNTIME_DIR": "/y"}, 0, "/x"},
	} {
		if got := RuntimeDir(env(c.env), c.uid); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestRewrapReportsWhileItGoesOn(t *testing.T) {
	dir := runtimeDir(t)
	s := claim(t, dir, "/mnt")
	go s.Serve(mountStub{})
	c, err := Find(dir, "/mnt")
	if err != nil {
		t.Fatal(err)
	}
	var files int64
	var failed []error
	events := RewrapEvents{Progress: func(n int64) { files = n }, Failed: func(err error) { failed = append(failed, err) }}
	res, err := c.Rewrap(t.Context(), RewrapRequest{KeyID: "k"}, events)
	if err != nil || res.KeyARN != "k" || !res.Finished || files != 7 || len(failed) != 1 || failed[0].Error() != "one file" {
		t.Errorf("%+v, %v, %d files, failed %v", res, err, files, failed)
	}
	var f *Failure
	if res, err := c.Rewrap(t.Context(), RewrapRequest{KeyID: "bad"}, events); !errors.As(err, &f) || f.Exit != 3 || len(f.Hints) != 1 || res.Files != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestRewrapStopsWithItsClient(t *testing.T) {
	dir := runtimeDir(t)
	s := claim(t, dir, "/mnt")
	m := mountStub{stopped: make(chan struct{})}
	go s.Serve(m)
	c, err := Find(dir, "/mnt")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = c.Rewrap(ctx, RewrapRequest{KeyID: "wait"}, RewrapEvents{Progress: func(int64) { cancel() }, Failed: func(error) {}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	select {
	case <-m.stopped:
	case <-time.After(5 * time.Second):
		t.Error("the daemon goes on")
	}
}
