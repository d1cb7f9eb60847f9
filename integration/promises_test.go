package integration

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onDisks runs a test on each kind of filesystem, with a volume whose store and key service are both
// on the disk whose power is cut.
func onDisks(t *testing.T, test func(t *testing.T, d *disk, v *volume)) {
	for kind := range diskKinds {
		t.Run(kind, func(t *testing.T) {
			d := newDisk(t, kind)
			v := &volume{t: t, State: filepath.Join(d.Dir, "state"), Back: filepath.Join(d.Dir, "back"), Mnt: t.TempDir()}
			v.kmsfs("init", v.Back)
			test(t, d, v)
		})
	}
}

// powerCycle cuts the power without flushing anything, and mounts again.
func (v *volume) powerCycle(d *disk) {
	v.t.Helper()
	d.cutPower(shutdownNoLogFlush)
	if v.mounted {
		v.giveUp()
	}
	d.powerOn()
	v.mount()
}

// The volume and its key are durable when init returns.
func TestVolumeSurvivesPowerLossRightAfterInit(t *testing.T) {
	onDisks(t, func(t *testing.T, d *disk, v *volume) {
		v.powerCycle(d)
		write(t, v.path("file"), "content")
		must(t, fsync(v.path("file")))
		v.powerCycle(d)
		wantContent(t, v.path("file"), "content")
	})
}

// A key is durable when the command that made it returns, also in a token that consists of files.
func TestKeySurvivesPowerLossRightAfterItWasMade(t *testing.T) {
	onDisks(t, func(t *testing.T, d *disk, v *volume) {
		v.kmsfs("key", "create", "--alias", "alias/fresh")
		v.powerCycle(d)
		v.kmsfs("init", "--key-id", "alias/fresh", filepath.Join(d.Dir, "second"))
	})
}

// Each promise is one call that makes something durable, and what must be there after it.
var promises = map[string]struct {
	before, call func(v *volume) error // before is durable before call
	after        string                // a script that checks it
}{
	"fsync of a new file in new directories": {
		call: func(v *volume) error {
			if err := os.MkdirAll(v.path("a/b/c"), 0o755); err != nil {
				return err
			}
			return writeSynced(v.path("a/b/c/f"), "new")
		},
		after: `test "$(cat a/b/c/f)" = new`,
	},
	"fsync of new directories": {
		call: func(v *volume) error {
			if err := os.MkdirAll(v.path("a/b"), 0o755); err != nil {
				return err
			}
			return fsync(v.path("a/b"))
		},
		after: `test -d a/b && touch a/b/f`,
	},
	"fsync of a directory with a new link, symlink and name": {
		before: func(v *volume) error { return writeSynced(v.path("f"), "old") },
		call: func(v *volume) error {
			os.Mkdir(v.path("d"), 0o755)
			os.Link(v.path("f"), v.path("d/l"))
			os.Symlink("target", v.path("d/s"))
			os.Rename(v.path("f"), v.path("d/f"))
			return fsync(v.path("d"))
		},
		after: `test "$(cat d/l)" = old && test d/f -ef d/l && test "$(readlink d/s)" = target`,
	},
	"fsync of a renamed file": {
		before: func(v *volume) error { return writeSynced(v.path("f"), "old") },
		call: func(v *volume) error {
			os.Rename(v.path("f"), v.path("g"))
			return fsync(v.path("g"))
		},
		after: `test "$(cat g)" = old && test ! -e f`,
	},
	"fsync of a file with a new mode and attribute": {
		before: func(v *volume) error { return writeSynced(v.path("f"), "old") },
		call: func(v *volume) error {
			os.Chmod(v.path("f"), 0o604)
			unix.Setxattr(v.path("f"), "user.note", []byte("kept"), 0)
			return fsync(v.path("f"))
		},
		after: `test "$(stat -c %a f)" = 604 && test "$(python3 -c 'import os; print(os.getxattr("f", "user.note").decode())')" = kept`,
	},
	"fsync of the parents of a renamed directory": {
		before: func(v *volume) error {
			os.MkdirAll(v.path("x/sub"), 0o755)
			os.MkdirAll(v.path("y"), 0o755)
			return writeSynced(v.path("x/sub/f"), "old")
		},
		call: func(v *volume) error {
			os.Rename(v.path("x/sub"), v.path("y/moved"))
			return fsync(v.path("y"))
		},
		after: `test "$(cat y/moved/f)" = old && test ! -e x/sub`,
	},
	"fsync of a log's prefix": {
		before: func(v *volume) error { return writeSynced(v.path("log"), "first\n") },
		call: func(v *volume) error {
			f, err := os.OpenFile(v.path("log"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			f.WriteString("second\n")
			err = f.Sync()
			f.WriteString("third\n")
			return err
		},
		after: `head -n 2 log | cmp - <(printf 'first\nsecond\n')`,
	},
}

func writeSynced(path, content string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	return f.Sync()
}

func TestWhatOneFsyncPromises(t *testing.T) {
	for name, p := range promises {
		t.Run(name, func(t *testing.T) {
			onDisks(t, func(t *testing.T, d *disk, v *volume) {
				v.mount()
				if p.before != nil {
					must(t, p.before(v))
					v.remount()
				}
				must(t, p.call(v))
				v.powerCycle(d)
				sh(t, v.Mnt, p.after)
			})
		})
	}
}

// A killed daemon keeps what was fsynced and every name; the rest is old or new.
func TestKilledDaemonKeepsWhatWasSynced(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 2))
	v := mountedVolume(t)
	c := newCast(t, v, rng, 3)
	for range crashRounds(6) {
		pid := v.daemonPID()
		c.perform(time.Duration(100+rng.IntN(1400))*time.Millisecond, func() { must(t, unix.Kill(pid, unix.SIGKILL)) })
		v.umount()
		v.mount()
		c.check(t)
	}
}
