package integration

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Tests that need many processes start the test binary again; the variable says what to do instead of
// running tests.
const workerVar = "KMSFS_TEST_WORKER"

// workers are the roles that the test binary can take.
var workers = map[string]func(args []string) error{
	"churn":  churnWorker,
	"writer": steadyWriter,
}

// runWorker is the whole life of a process that was started by startWorker.
func runWorker(role string) int {
	if err := workers[role](os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startWorker starts the test binary in a role. Its output is the command's.
func startWorker(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), workerVar+"="+role)
	return cmd
}
