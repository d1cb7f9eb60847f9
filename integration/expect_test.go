package integration

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Exit codes of docs/exit-codes.md.
const (
	codeFailure   = 1
	codeUsage     = 2
	codeNotFound  = 3
	codeConflict  = 4
	codeDenied    = 5
	codeKeys      = 6
	codeIntegrity = 7
)

// refused runs the binary and fails the test unless it ends with the exit code, one line that says
// what failed, and at least one hint. It returns that line.
func (v *volume) refused(code int, args ...string) string {
	v.t.Helper()
	stdout, stderr, err := v.try(args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		v.t.Fatalf("kmsfs %s: %v, want exit code %d\n%s%s", strings.Join(args, " "), err, code, stdout, stderr)
	}
	return v.oneLineAndHints(stderr)
}

// oneLineAndHints checks the form of an error: one line, then hints.
func (v *volume) oneLineAndHints(stderr string) string {
	v.t.Helper()
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if len(lines) < 2 || !strings.HasPrefix(lines[0], "kmsfs: ") {
		v.t.Fatalf("want one line of error and a hint, got:\n%s", stderr)
	}
	for _, l := range lines[1:] {
		if !strings.HasPrefix(l, "hint: ") || len(l) < 15 {
			v.t.Fatalf("not a hint: %q in:\n%s", l, stderr)
		}
	}
	return lines[0]
}

// wantText fails the test unless text holds every one of the parts.
func wantText(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

// cat runs cat(1) and returns what it says on standard error.
func cat(path string) string {
	out, _ := exec.Command("cat", path).CombinedOutput()
	return string(out)
}

// openErr tries to open a file for reading.
func openErr(path string) error {
	f, err := os.Open(path)
	if err == nil {
		f.Close()
	}
	return err
}

// wantRejected fails the test unless opening path says that it is not what the mount wrote there.
func wantRejected(t *testing.T, path string) {
	t.Helper()
	wantErrno(t, "open "+filepath.Base(path), openErr(path), unix.EKEYREJECTED)
}

// auditRecord is the part of an audit record that the tests look at.
type auditRecord struct {
	EventName         string `json:"eventName"`
	ErrorCode         string `json:"errorCode"`
	RequestParameters struct {
		EncryptionContext map[string]string `json:"encryptionContext"`
	} `json:"requestParameters"`
}

// audit returns the records that kmsfs audit --json selects with flags.
func (v *volume) audit(flags ...string) []auditRecord {
	v.t.Helper()
	var records []auditRecord
	for line := range strings.Lines(v.kmsfs(append([]string{"audit", "--json"}, flags...)...)) {
		var r auditRecord
		must(v.t, json.Unmarshal([]byte(line), &r))
		records = append(records, r)
	}
	return records
}

// storePath returns the path in the backing directory of what the mount shows as rel. Inode numbers
// are those of the store.
func (v *volume) storePath(rel string) string {
	v.t.Helper()
	var want unix.Stat_t
	must(v.t, unix.Lstat(v.path(rel), &want))
	found := ""
	must(v.t, filepath.WalkDir(v.Back, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(path, &st) == nil && st.Ino == want.Ino {
			found = path
		}
		return err
	}))
	if found == "" {
		v.t.Fatalf("%s has no inode of the store", rel)
	}
	return found
}

// daemonPID is the process id of the mount's daemon.
func (v *volume) daemonPID() int {
	v.t.Helper()
	var st struct {
		PID int `json:"pid"`
	}
	must(v.t, json.Unmarshal([]byte(v.kmsfs("status", "--json", v.Mnt)), &st))
	if st.PID <= 1 {
		v.t.Fatalf("kmsfs status tells pid %d", st.PID)
	}
	return st.PID
}

// eventually waits until ok, at most for the given time.
func eventually(t *testing.T, most time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(most); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", most, what)
		}
	}
}

// mounts reports whether the kernel has a mount at dir.
func mounts(t *testing.T, dir string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	return slices.ContainsFunc(strings.Split(string(b), "\n"), func(line string) bool {
		f := strings.Fields(line)
		return len(f) > 4 && f[4] == dir
	})
}
