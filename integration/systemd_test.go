package integration

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A service manager learns when requests are answered, and that the service ends because it was asked to.
func TestServiceManagerIsTold(t *testing.T) {
	dir := t.TempDir()
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	must(t, err)
	defer manager.Close()
	cmd := exec.Command(binary, "serve", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "KMSFS_STATE_DIR="+filepath.Join(dir, "state"), "NOTIFY_SOCKET="+manager.LocalAddr().String())
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // for a test that failed
	_, err = bufio.NewReader(out).ReadString('\n')
	must(t, err)
	wantTold(t, manager, "READY=1")
	must(t, cmd.Process.Signal(unix.SIGTERM))
	wantTold(t, manager, "STOPPING=1")
	must(t, cmd.Wait())
}

func wantTold(t *testing.T, manager *net.UnixConn, want string) {
	t.Helper()
	must(t, manager.SetReadDeadline(time.Now().Add(30*time.Second)))
	text := make([]byte, 256)
	n, err := manager.Read(text)
	if err != nil || string(text[:n]) != want {
		t.Errorf("told %q, %v; want %q", text[:n], err, want)
	}
}
