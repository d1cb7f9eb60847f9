package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const churners = 32

// Many processes use, rename and delete the same few names. Whatever they meet, ext4 could have
// answered the same; afterwards no key is held and everything is as it was, also from the store.
func TestManyProcessesInOneDirectory(t *testing.T) {
	for name, flags := range namesModes {
		t.Run(name, func(t *testing.T) { churn(t, mountedVolume(t, flags...)) })
	}
}

func churn(t *testing.T, v *volume) {
	seconds := 3
	if *long {
		seconds = 60
	}
	dir := v.path("churn")
	must(t, os.Mkdir(dir, 0o755))
	var running []*exec.Cmd
	var outputs []*bytes.Buffer
	for i := range churners {
		cmd, out := startWorker(t, "churn", dir, strconv.Itoa(seconds), strconv.Itoa(i)), new(bytes.Buffer)
		cmd.Stdout, cmd.Stderr = out, out
		must(t, cmd.Start())
		running, outputs = append(running, cmd), append(outputs, out)
	}
	ops := 0
	for i, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Errorf("worker %d: %v: %s", i, err, outputs[i])
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(outputs[i].String()))
		must(t, err)
		ops += n
	}
	t.Logf("%d operations in %d s", ops, seconds)
	if ops < 10*churners {
		t.Errorf("only %d operations", ops)
	}
	v.waitNoKeys()
	before := treeDigest(t, v.Mnt)
	v.remount()
	wantSameLines(t, before, treeDigest(t, v.Mnt))
	if t.Failed() {
		t.Log(sh(t, v.State, "tail -n 40 log/*.log"))
	}
	sh(t, v.Mnt, "rm -rf churn && test -z \"$(ls -A)\"")
}

// wantSameLines fails the test for each line that only one of the texts has.
func wantSameLines(t *testing.T, before, after string) {
	t.Helper()
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, line := range a {
		if !slices.Contains(b, line) {
			t.Errorf("only before: %s", line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			t.Errorf("only after:  %s", line)
		}
	}
}

// treeDigest lists a tree with type, size, links and content of everything in it.
func treeDigest(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		rel, _ := filepath.Rel(root, path)
		if !d.Type().IsRegular() {
			fmt.Fprintf(&b, "%s %v\n", rel, d.Type())
			return nil
		}
		content, err := os.ReadFile(path)
		must(t, err)
		fmt.Fprintf(&b, "%s inode %d, %d bytes, %d links: %s\n", rel, st.Ino, st.Size, st.Nlink, runs(content))
		return nil
	}))
	return b.String()
}

// runs describes content that is made of few runs of one byte.
func runs(content []byte) string {
	var b strings.Builder
	for len(content) > 0 {
		n := len(content) - len(bytes.TrimLeft(content, string(content[:1])))
		fmt.Fprintf(&b, " %dx%q", n, content[0])
		content = content[n:]
	}
	return b.String()
}

// churnErrnos are what an operation may meet when others rename and delete the same names on ext4.
var churnErrnos = []unix.Errno{unix.ENOENT, unix.EEXIST, unix.EISDIR, unix.ENOTDIR, unix.ENOTEMPTY,
	unix.EINVAL, // a directory renamed into itself
	unix.ELOOP,  // a symbolic link where a file was
}

// churner is one of the processes.
type churner struct {
	dir string
	rng *rand.Rand
}

// churnWorker works in a directory for some seconds and prints how many operations it did:
// DIR SECONDS SEED.
func churnWorker(args []string) error {
	seconds, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	c := &churner{dir: args[0], rng: rand.New(rand.NewPCG(seed, 1))}
	n := 0
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); n++ {
		what, err := c.one()
		if err != nil && !slices.ContainsFunc(churnErrnos, func(e unix.Errno) bool { return errors.Is(err, e) }) {
			return fmt.Errorf("operation %d, %s: %w", n, what, err)
		}
	}
	fmt.Println(n)
	return nil
}

// name is one of few, so that processes meet; every third is in a directory of few.
func (c *churner) name() string {
	file := fmt.Sprintf("f%d", c.rng.IntN(12))
	if c.rng.IntN(3) == 0 {
		return filepath.Join(c.subdir(), file)
	}
	return filepath.Join(c.dir, file)
}

func (c *churner) subdir() string { return filepath.Join(c.dir, fmt.Sprintf("d%d", c.rng.IntN(4))) }

// one does one operation and names it.
func (c *churner) one() (string, error) {
	a, b := c.name(), c.name()
	switch c.rng.IntN(14) {
	case 0, 1:
		return "create " + a, c.write(a, os.O_CREATE|os.O_TRUNC)
	case 2:
		return "create exclusively " + a, c.write(a, os.O_CREATE|os.O_EXCL)
	case 3:
		return "append " + a, c.write(a, os.O_APPEND)
	case 4, 5, 6:
		return "read " + a, readWhole(a)
	case 7:
		return "rename " + a + " " + b, os.Rename(a, b)
	case 8:
		return "link " + a + " " + b, os.Link(a, b)
	case 9:
		return "unlink " + a, unix.Unlink(a)
	case 10:
		return "mkdir", os.Mkdir(c.subdir(), 0o755)
	case 11:
		return "rmdir", unix.Rmdir(c.subdir())
	case 12:
		from, to := c.subdir(), c.subdir()
		return "rename " + from + " " + to, os.Rename(from, to)
	default:
		_, err := os.ReadDir(c.dir)
		if err == nil {
			err = os.Truncate(a, int64(c.rng.IntN(9000)))
		}
		return "list, and truncate " + a, err
	}
}

// write writes a run of one byte, so that a reader can tell if what it sees was never written.
func (c *churner) write(path string, flag int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|flag|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte{'a' + byte(c.rng.IntN(26))}, 1+c.rng.IntN(9000))); err != nil {
		return err
	}
	if c.rng.IntN(8) == 0 {
		return f.Sync()
	}
	return nil
}

// readWhole reads a file: letters and holes are all that was ever written.
func readWhole(path string) error {
	b, err := os.ReadFile(path)
	if i := slices.IndexFunc(b, func(c byte) bool { return c != 0 && (c < 'a' || c > 'z') }); i >= 0 {
		return fmt.Errorf("byte %#x at %d was never written", b[i], i)
	}
	return err
}
