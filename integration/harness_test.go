package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// long enables the tests that take minutes.
var long = flag.Bool("long", false, "run the tests that take minutes")

// binary is the kmsfs under test; $KMSFS names another one than the one that TestMain builds.
var binary = os.Getenv("KMSFS")

func TestMain(m *testing.M) {
	if role := os.Getenv(workerVar); role != "" {
		os.Exit(runWorker(role))
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if binary == "" {
		dir, err := os.MkdirTemp("", "kmsfs-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "kmsfs")
		build := exec.Command("go", "build", "-o", binary, "github.com/kmsfs/kmsfs/cmd/kmsfs")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build kmsfs:", err)
			return 1
		}
	}
	return m.Run()
}

// volume is a volume with its own key service state, on a directory of the test's.
type volume struct {
	t                *testing.T
	State, Back, Mnt string
	mounted          bool
	options          []string // of every mount
	env              []string // of kmsfs; nil: this process's
}

// newVolume makes a volume; flags are given to kmsfs init.
func newVolume(t *testing.T, flags ...string) *volume {
	t.Helper()
	return newVolumeIn(t, t.TempDir(), "", flags...)
}

// newVolumeIn makes a volume below dir. An empty state means a state directory of its own.
func newVolumeIn(t *testing.T, dir, state string, flags ...string) *volume {
	t.Helper()
	v := &volume{t: t, State: state, Back: filepath.Join(dir, "back"), Mnt: filepath.Join(dir, "mnt")}
	if state == "" {
		v.State = filepath.Join(dir, "state")
	}
	must(t, os.MkdirAll(v.Mnt, 0o755))
	v.kmsfs(append(append([]string{"init"}, flags...), v.Back)...)
	return v
}

// mountedVolume makes a volume and mounts it.
func mountedVolume(t *testing.T, flags ...string) *volume {
	t.Helper()
	v := newVolume(t, flags...)
	v.mount()
	return v
}

// withoutLedger makes a volume and mounts it, then and later, without a ledger: what is changed behind
// its back is judged by the format alone.
func withoutLedger(t *testing.T, flags ...string) *volume {
	t.Helper()
	v := newVolume(t, flags...)
	v.options = []string{"-o", "noledger"}
	v.mount()
	return v
}

// mount mounts the volume; it is unmounted at the end of the test at the latest.
func (v *volume) mount(flags ...string) {
	v.t.Helper()
	v.kmsfs(append(slices.Concat([]string{"mount"}, v.options, flags), v.Back, v.Mnt)...)
	v.mounted = true
	v.t.Cleanup(v.cleanup)
}

// cleanup leaves no mount behind, whatever the test did.
func (v *volume) cleanup() {
	if v.mounted {
		if _, stderr, err := v.try("umount", v.Mnt); err != nil {
			v.t.Errorf("umount at the end of the test: %v: %s", err, stderr)
			unix.Unmount(v.Mnt, unix.MNT_DETACH)
		}
		v.mounted = false
	}
}

// umount unmounts and waits until the daemon is gone.
func (v *volume) umount() {
	v.t.Helper()
	v.kmsfs("umount", v.Mnt)
	v.mounted = false
}

// remount unmounts and mounts again: everything comes from the store.
func (v *volume) remount() {
	v.t.Helper()
	v.umount()
	v.mount()
}

// kmsfs runs the binary and fails the test when it fails.
func (v *volume) kmsfs(args ...string) string {
	v.t.Helper()
	stdout, stderr, err := v.try(args...)
	if err != nil {
		v.t.Fatalf("kmsfs %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// try runs the binary with the volume's state directory.
func (v *volume) try(args ...string) (stdout, stderr string, err error) {
	cmd := exec.Command(binary, args...)
	cmd.Env = append(slices.Clip(v.env), "KMSFS_STATE_DIR="+v.State)
	if v.env == nil {
		cmd.Env = append(os.Environ(), cmd.Env...)
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// info returns the volume's id and CMK.
func (v *volume) info() (id, key string) {
	v.t.Helper()
	var raw struct {
		VolumeID string
		Keys     []string
	}
	b, err := os.ReadFile(filepath.Join(v.Back, "kmsfs.volume"))
	must(v.t, err)
	var doc map[string]any
	must(v.t, json.Unmarshal(b, &doc))
	raw.VolumeID, _ = doc["volume_id"].(string)
	for _, k := range doc["keys"].([]any) {
		raw.Keys = append(raw.Keys, k.(string))
	}
	return raw.VolumeID, raw.Keys[len(raw.Keys)-1]
}

// path is a path on the mount.
func (v *volume) path(elem ...string) string {
	return filepath.Join(append([]string{v.Mnt}, elem...)...)
}

// status returns what kmsfs status --json says of this mount.
func (v *volume) status() mountStatus {
	v.t.Helper()
	out := v.kmsfs("status", "--json", v.Mnt)
	var st mountStatus
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		var list []mountStatus
		if json.Unmarshal([]byte(out), &list) != nil || len(list) != 1 {
			v.t.Fatalf("kmsfs status --json: %v\n%s", err, out)
		}
		st = list[0]
	}
	return st
}

// mountStatus is the part of kmsfs status --json that the tests look at.
type mountStatus struct {
	KeysHeld int `json:"keysHeld"`
	Files    []struct {
		Path    string `json:"path"`
		Handles int    `json:"handles"`
	} `json:"files"`
}

// waitNoKeys waits until no data key is held: the kernel tells of the last close asynchronously.
func (v *volume) waitNoKeys() {
	v.t.Helper()
	var st mountStatus
	for range 100 {
		if st = v.status(); st.KeysHeld == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	v.t.Fatalf("keys still held: %+v", st.Files)
}

// sh runs a shell command in dir and fails the test when it fails.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, tail(out))
	}
	return string(out)
}

func tail(out []byte) []byte { return out[max(0, len(out)-4000):] }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantErrno fails the test unless err is want.
func wantErrno(t *testing.T, what string, err error, want unix.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	must(t, err)
	if string(got) != want {
		t.Fatalf("%s: got %d bytes %.80q, want %d bytes %.80q", path, len(got), got, len(want), want)
	}
}
