package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// A Go process must not fork without exec: its threads would be lost. So "kmsfs mount" starts
// itself again in a session of its own and waits on a pipe until that process is ready or has
// failed. The environment variable names the pipe; its presence makes the process the daemon.
const (
	readyVar = "KMSFS_READY_FD"
	readyFD  = 3
)

// readyMessage is what the daemon writes into the pipe, once.
type readyMessage struct {
	OK    bool     `json:"ok"`
	Error string   `json:"error,omitempty"`
	Code  int      `json:"code,omitempty"`
	Hints []string `json:"hints,omitempty"`
}

// readyPipe returns the pipe to the parent if this process is a daemon.
func readyPipe(getenv func(string) string) *os.File {
	fd, err := strconv.Atoi(getenv(readyVar))
	if err != nil || fd != readyFD {
		return nil
	}
	os.Unsetenv(readyVar)
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready pipe")
}

// sendReady tells the parent how the start went.
func sendReady(pipe io.WriteCloser, err error) {
	m := readyMessage{OK: err == nil}
	if err != nil {
		m.Error, m.Code, m.Hints = message(err), exitCode(err), hints(err)
	}
	json.NewEncoder(pipe).Encode(m) // a parent that is gone does not stop the mount
	pipe.Close()
}

// spawnDaemon starts the daemon for this very command line and waits until the mount is ready.
func (a *app) spawnDaemon(ctx context.Context, volume string) error {
	pin, err := a.askPIN()
	if err != nil {
		return err
	}
	log, err := a.openLog(volume)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd, err := daemonCommand(log, w, pin)
	if err == nil {
		err = cmd.Start()
	}
	w.Close()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	return awaitReady(ctx, cmd, r, log)
}

// daemonCommand is this command line again, detached from the terminal.
func daemonCommand(log, ready *os.File, pin []byte) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args // argv[0] too: it tells a mount helper from a command
	cmd.Env = append(os.Environ(), readyVar+"="+strconv.Itoa(readyFD))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if pin == nil {
		return cmd, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdin = r
	_, err = w.Write(pin) // shorter than a pipe's buffer: does not block
	clear(pin)
	return cmd, errors.Join(err, w.Close())
}

// askPIN asks for the PIN while there is still a terminal. The daemon reads it from its standard
// input.
func (a *app) askPIN() ([]byte, error) {
	if a.remote.endpoint != "" {
		return nil, nil
	}
	source := a.pinSource
	if source == "" {
		config, err := readConfig(a.keyStateDir())
		if err != nil {
			return nil, nil // the daemon opens it too, and knows what to say
		}
		source = config.PINSource
	}
	if source != "prompt" {
		return nil, nil
	}
	return a.ui.AskSecret("PIN of the key service's token: ")
}

// openLog opens the daemon's log, STATE-DIR/log/VOLUME.log, also if the keys are elsewhere.
func (a *app) openLog(volume string) (*os.File, error) {
	state := a.keyStateDir()
	if _, err := os.Stat(state); err != nil && a.remote.endpoint == "" {
		return nil, failf(exitNotFound, "name the one that the volume was made with: --state-dir, or KMSFS_STATE_DIR",
			"no key service in %s", state)
	}
	dir := filepath.Join(state, "log")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, volume+".log"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
}

// awaitReady reads the daemon's message. A parent that is interrupted takes the daemon with it.
func awaitReady(ctx context.Context, cmd *exec.Cmd, r io.Reader, log *os.File) error {
	stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	var m readyMessage
	err := json.NewDecoder(r).Decode(&m)
	if m.OK {
		return cmd.Process.Release()
	}
	cmd.Wait()
	e := &appError{msg: m.Error, code: m.Code, hints: m.Hints}
	if err != nil {
		e = failf(exitFailure, "", "the daemon ended before the mount was ready (%v)", cmd.ProcessState)
	}
	if said := helperSaid(log); said != "" {
		e.msg = strings.TrimSpace(e.msg) + ": " + said
	}
	if len(e.hints) == 0 {
		e.hints = []string{"see its log: " + log.Name()}
	}
	return e
}

// helperSaid returns what a helper such as fusermount3 wrote into the log last, behind the daemon's
// own lines: it is the reason of the failure, which its exit code does not tell.
func helperSaid(log *os.File) string {
	const most = 4096
	info, err := log.Stat()
	if err != nil {
		return ""
	}
	tail := make([]byte, min(info.Size(), most))
	if _, err := log.ReadAt(tail, info.Size()-int64(len(tail))); err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(tail)), "\n")
	if len(lines) < 2 || !strings.HasPrefix(lines[len(lines)-1], "time=") || strings.HasPrefix(lines[len(lines)-2], "time=") {
		return ""
	}
	return lines[len(lines)-2]
}
