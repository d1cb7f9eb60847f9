package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// kmsfs runs this program with args, shows the command, and returns what it printed.
func (l *lab) kmsfs(ctx context.Context, args ...string) (string, error) {
	l.showCommand("kmsfs " + strings.Join(args, " "))
	return l.run1(ctx, args)
}

// showCommand prints a command line as a user would type it.
func (l *lab) showCommand(line string) {
	l.evidence(labEvidence{Command: line})
	l.say("   $ %s", line)
}

// run1 runs this program once. A failure carries its error line, code and hint.
func (l *lab) run1(ctx context.Context, args []string) (string, error) {
	if l.app.pinSource != "" {
		args = append(args, "--pin-source="+l.app.pinSource)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0] = "kmsfs"
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // let it clean up
	cmd.WaitDelay = 30 * time.Second
	cmd.Env = append(os.Environ(), "KMSFS_STATE_DIR="+l.stateDir)
	cmd.Stdin = l.app.ui.in
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", childError(args, exit.ExitCode(), errOut.String())
	}
	return out.String(), err
}

// childError is the error of a command that the lab ran, with its hints.
func childError(args []string, code int, printed string) error {
	e := &appError{code: code, msg: fmt.Sprintf("kmsfs %s: exit code %d", args[0], code)}
	for line := range strings.Lines(printed) {
		line = strings.TrimSpace(line)
		if h, ok := strings.CutPrefix(line, "hint: "); ok {
			e.hints = append(e.hints, h)
		} else if m, ok := strings.CutPrefix(line, "kmsfs: "); ok {
			e.msg = "kmsfs " + args[0] + ": " + m
		}
	}
	return e
}

// cat opens and reads the file as any program would, in a process of its own.
func (l *lab) cat(ctx context.Context) (string, error) {
	path := filepath.Join(l.plain, labName)
	l.showCommand("cat " + path)
	cmd := exec.CommandContext(ctx, "cat", path)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
