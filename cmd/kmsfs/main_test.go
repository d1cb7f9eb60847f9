package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kmsfs": main, "mount.fuse.kmsfs": main})
}

// The scripts in testdata run the real program: real state directories, tokens, mounts. Together they
// use every operation of the API.
func TestScripts(t *testing.T) {
	var operations reached
	t.Cleanup(func() { operations.check(t) }) // after all of them
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Defer(func() { operations.note(env) })
			return setupScript(env)
		},
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails":      failsWith,
			"eventually": eventually,
			"capture":    capture,
			"flip":       flip,
			"rsakey":     rsaKey,
		},
	})
}

// setupScript gives a script its own home, state and runtime directories, and takes its mounts away
// when it ends, however it ends.
func setupScript(env *testscript.Env) error {
	for name, dir := range map[string]string{
		"HOME": "home", "KMSFS_STATE_DIR": "state", "KMSFS_RUNTIME_DIR": "run", "TMPDIR": "tmp",
	} {
		env.Setenv(name, filepath.Join(env.WorkDir, dir))
	}
	env.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0") // else each of hundreds of processes takes a second to end
	env.Setenv("TZ", "UTC")
	env.Setenv("LC_ALL", "C")
	env.Defer(func() { detachBelow(env.WorkDir) })
	return errors.Join(os.Mkdir(env.Getenv("HOME"), 0o700), os.Mkdir(env.Getenv("TMPDIR"), 0o700))
}

// detachBelow takes mounts under dir away and waits a moment for their daemons.
func detachBelow(dir string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return
	}
	defer f.Close()
	for _, m := range readMountinfo(f) {
		if strings.HasPrefix(m.mountpoint, dir+"/") {
			detachMount(m.mountpoint, true)
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// failsWith is "fails CODE COMMAND ARGS...": the command must end with that exit code.
func failsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var exit *exec.ExitError
	err = ts.Exec(args[1], args[2:]...)
	if !errors.As(err, &exit) {
		ts.Fatalf("%s: %v, want exit code %d", args[1], err, want)
	}
	if exit.ExitCode() != want {
		ts.Fatalf("%s: exit code %d, want %d", args[1], exit.ExitCode(), want)
	}
}

// eventually is "eventually PATTERN COMMAND ARGS...": within ten seconds the command's output must
// have the pattern as a part.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually TEXT COMMAND ARGS...")
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		ts.Exec(args[1], args[2:]...) // a failure may be what is waited for
		if strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), args[0]) {
			return
		}
	}
	ts.Fatalf("%s never printed %q", args[1], args[0])
}

// capture is "capture NAME": sets the variable to the last command's output.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: capture NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// flip is "flip FILE OFFSET": changes one byte of a file; a negative offset counts from the end.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	path := ts.MkAbs(args[0])
	raw, err := os.ReadFile(path)
	ts.Check(err)
	if at < 0 {
		at += len(raw)
	}
	raw[at] ^= 1
	ts.Check(os.WriteFile(path, raw, 0o600))
}
