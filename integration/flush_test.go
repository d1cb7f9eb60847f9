package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// deviceFlushes counts what the daemon flushes of the store while op runs.
func (v *volume) deviceFlushes(op func()) int {
	v.t.Helper()
	trace := filepath.Join(v.t.TempDir(), "trace")
	pid := v.daemonPID()
	tracer := exec.Command("strace", "-f", "-qq", "-y", "-o", trace, "-p", fmt.Sprint(pid), "-e", "trace=fsync,fdatasync,syncfs,sync_file_range,sync")
	must(v.t, tracer.Start())
	defer tracer.Process.Kill()
	eventually(v.t, 5*time.Second, "strace attaches", func() bool { return traced(pid) })
	op()
	must(v.t, tracer.Process.Signal(unix.SIGINT))
	tracer.Wait()
	b, err := os.ReadFile(trace)
	must(v.t, err)
	n := 0
	for line := range bytes.Lines(b) {
		if strings.Contains(string(line), "<"+v.Back) && !strings.Contains(string(line), "resumed>") {
			n++
		}
	}
	return n
}

// What it costs to make a file durable is one flush of the device, and nothing when it is.
func TestFsyncFlushesTheDeviceOnce(t *testing.T) {
	v := mountedVolume(t)
	f, err := os.Create(v.path("f"))
	must(t, err)
	defer f.Close()
	want := func(n int, what string, op func() error) {
		t.Helper()
		if got := v.deviceFlushes(func() { must(t, op()) }); got != n {
			t.Errorf("%s: %d device flushes, want %d", what, got, n)
		}
	}
	writeSync := func(size int) func() error {
		return func() error {
			if _, err := f.Write(make([]byte, size)); err != nil {
				return err
			}
			return f.Sync()
		}
	}
	want(1, "a new file", writeSync(100))
	want(1, "a small write", writeSync(100))
	want(1, "a large write", writeSync(5<<20))
	want(0, "nothing since", f.Sync)
	want(0, "a write without fsync", func() error { _, err := f.WriteAt([]byte("x"), 3); return err })
	want(1, "fdatasync", func() error { return unix.Fdatasync(int(f.Fd())) })
}
