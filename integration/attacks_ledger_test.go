package integration

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ledgerAttacks are the rows that need to know more than the store: what it was like before.
func ledgerAttacks() map[string][]attackCase {
	return map[string][]attackCase{
		"delete":             {{"file", attackDelete("f")}, {"directory", attackDelete("sub")}, {"symlink", attackDelete("l")}, {"empty directory", attackDelete("empty")}},
		"resurrect":          {{"file", attackReplay("d/f", removeFile, "d/f")}, {"in the place of another", attackReplay("d/f", replaceFile, "d/f")}, {"directory in the place of another", attackReplay("d/sub", replaceDirectory, "d/sub/f")}},
		"rollback-dir":       {{"with all in it", attackReplay("d", addFile, "d/f")}, {"emptied", attackEmptiedDirectory}},
		"rollback-symlink":   {{"older target", attackReplay("d/l", replaceSymlink, "d/l")}},
		"rollback-log":       {{"cut", attackCutRenameLog}, {"removed", attackRemovedRenameLog}},
		"rollback-config":    {{"older volume file", attackOldVolumeFile}},
		"rollback-store":     {{"whole", attackRollbackStore}, {"but the mount states", attackRollbackAllButMounts}, {"lost mount states", attackLostMounts}},
		"fork":               {{"replayed lost write", attackFork}},
		"truncate-zero":      {{"after a crash", attackEmptiedAfterCrash}},
		"restore-then-forge": {{"accepted", attackAccepted}},
	}
}

// ledgerVolume is a volume that its ledger knows: a directory d with a file f, a symbolic link l, and
// directories sub (with a file f) and empty in it.
func ledgerVolume(t *testing.T) *volume {
	v := mountedVolume(t, "--plaintext-names")
	must(t, os.MkdirAll(v.path("d/sub"), 0o755))
	must(t, os.Mkdir(v.path("d/empty"), 0o755))
	write(t, v.path("d/f"), "content of f")
	write(t, v.path("d/other"), "content of other")
	write(t, v.path("d/sub/f"), "content of sub/f")
	must(t, os.Symlink("target", v.path("d/l")))
	v.umount()
	return v
}

func (v *volume) back(elem ...string) string {
	return filepath.Join(append([]string{v.Back}, elem...)...)
}

// wantNoticed mounts and fails the test unless using path gives EIO and the log says why.
func (v *volume) wantNoticed(path string) {
	v.t.Helper()
	v.mount()
	_, err := os.Lstat(v.path(path))
	if err == nil {
		err = openErr(v.path(path))
	}
	wantErrno(v.t, "use of "+path, err, unix.EIO)
	logs, _ := filepath.Glob(filepath.Join(v.State, "log", "*.log"))
	text, err := os.ReadFile(logs[0])
	must(v.t, err)
	wantText(v.t, string(text), "is not what the ledger knows: expected ", "kmsfs ledger accept "+v.Back)
	v.umount()
}

// wantUnmountable fails the test unless the mount is refused with the ledger's reason.
func (v *volume) wantUnmountable() {
	v.t.Helper()
	line := v.refused(codeIntegrity, "mount", v.Back, v.Mnt)
	wantText(v.t, line, "is not what the ledger knows")
}

func attackDelete(name string) func(t *testing.T) {
	return func(t *testing.T) {
		v := ledgerVolume(t)
		must(t, os.RemoveAll(v.back("d", name)))
		v.wantNoticed("d/other")
	}
}

// attackReplay keeps a file or directory of the store, lets change happen through a mount, and puts
// the old one in the new one's place. Using noticed must fail.
func attackReplay(name string, change func(v *volume), noticed string) func(t *testing.T) {
	return func(t *testing.T) {
		v := ledgerVolume(t)
		kept := filepath.Join(t.TempDir(), "kept")
		sh(t, "/", "cp -a "+v.back(name)+" "+kept)
		v.mount()
		change(v)
		v.umount()
		sh(t, "/", "rm -rf "+v.back(name)+" && cp -a "+kept+" "+v.back(name))
		v.wantNoticed(noticed)
	}
}

func removeFile(v *volume) { must(v.t, os.Remove(v.path("d/f"))) }

// replaceFile leaves the name as it was; only the file is another one.
func replaceFile(v *volume) {
	removeFile(v)
	write(v.t, v.path("d/f"), "another f")
}

func replaceDirectory(v *volume) {
	must(v.t, os.RemoveAll(v.path("d/sub")))
	must(v.t, os.Mkdir(v.path("d/sub"), 0o755))
	write(v.t, v.path("d/sub/f"), "another f")
}

func replaceSymlink(v *volume) {
	must(v.t, os.Remove(v.path("d/l")))
	must(v.t, os.Symlink("elsewhere", v.path("d/l")))
}

func addFile(v *volume) { write(v.t, v.path("d/new"), "new") }

// An emptied directory without identity is what a crash leaves of mkdir, and not here.
func attackEmptiedDirectory(t *testing.T) {
	v := ledgerVolume(t)
	sh(t, v.back("d/sub"), "rm -f f kmsfs.dir")
	v.wantNoticed("d/sub")
}

// renamedTwice renames a directory there and back, and returns the rename log of each time.
func (v *volume) renamedTwice() (logs [][]byte) {
	v.mount()
	defer v.umount()
	for _, to := range []string{"e", "d"} {
		from := map[string]string{"e": "d", "d": "e"}[to]
		must(v.t, os.Rename(v.path(from), v.path(to)))
		b, err := os.ReadFile(v.back("kmsfs.renames"))
		must(v.t, err)
		logs = append(logs, b)
	}
	return logs
}

func attackCutRenameLog(t *testing.T) {
	v := ledgerVolume(t)
	logs := v.renamedTwice()
	must(t, os.WriteFile(v.back("kmsfs.renames"), logs[0], 0o600))
	v.wantUnmountable()
	must(t, os.WriteFile(v.back("kmsfs.renames"), logs[1], 0o600))
	v.mount()
	wantContent(t, v.path("d/f"), "content of f")
}

func attackRemovedRenameLog(t *testing.T) {
	v := ledgerVolume(t)
	v.renamedTwice()
	must(t, os.Remove(v.back("kmsfs.renames")))
	v.wantUnmountable()
}

func attackOldVolumeFile(t *testing.T) {
	v := ledgerVolume(t)
	old, err := os.ReadFile(v.back("kmsfs.volume"))
	must(t, err)
	v.kmsfs("key", "create", "--alias", "alias/next")
	v.kmsfs("rewrap", "--to", "alias/next", v.Back)
	must(t, os.WriteFile(v.back("kmsfs.volume"), old, 0o600))
	v.wantUnmountable()
}

// snapshot copies the store; restore puts it back.
func (v *volume) snapshot() (restore func(except string)) {
	kept := filepath.Join(v.t.TempDir(), "store")
	sh(v.t, "/", "cp -a "+v.Back+" "+kept)
	return func(except string) {
		sh(v.t, v.Back, "find . -mindepth 1 -maxdepth 1 ! -name '"+except+"' -exec rm -r {} +  ; cd "+kept+
			" && find . -mindepth 1 -maxdepth 1 ! -name '"+except+"' -exec cp -a {} "+v.Back+"/ \\;")
	}
}

func attackRollbackStore(t *testing.T) {
	v := ledgerVolume(t)
	restore := v.snapshot()
	v.mount()
	write(t, v.path("d/sub/f"), "newer")
	v.umount()
	restore("")
	v.wantUnmountable()
}

func attackRollbackAllButMounts(t *testing.T) {
	v := ledgerVolume(t)
	restore := v.snapshot()
	v.mount()
	write(t, v.path("d/sub/f"), "newer")
	v.umount()
	restore("kmsfs.mounts")
	v.wantNoticed("d/sub/f")
}

func attackLostMounts(t *testing.T) {
	v := ledgerVolume(t)
	must(t, os.Remove(v.back("kmsfs.mounts")))
	v.wantUnmountable()
}

// attackFork replays a write that a crash had lost, after others have taken its place.
func attackFork(t *testing.T) {
	v := ledgerVolume(t)
	durable, err := os.ReadFile(v.back("d/other"))
	must(t, err)
	v.mount()
	write(t, v.path("d/other"), "CONTENT that gets lost")
	v.waitNoKeys()
	lost, err := os.ReadFile(v.back("d/other"))
	must(t, err)
	v.kill()
	must(t, os.WriteFile(v.back("d/other"), durable, 0o644)) // what a power cut leaves of it
	v.mount()
	if got, err := os.ReadFile(v.path("d/other")); err != nil || string(got) != "content of other" {
		t.Fatalf("after the crash: %q, %v", got, err)
	}
	for _, text := range []string{"written later", "and again"} {
		write(t, v.path("d/other"), text)
		must(t, fsync(v.path("d/other")))
	}
	v.umount()
	later, err := os.ReadFile(v.back("d/other"))
	must(t, err)
	mixed := append([]byte(nil), later...)
	copy(mixed[(1-newestRoot(later))*pageSize:], lost[newestRoot(lost)*pageSize:][:pageSize]) // beside the newest root
	must(t, os.WriteFile(v.back("d/other"), mixed, 0o644))
	v.mount()
	wantContent(t, v.path("d/other"), "and again")
	v.umount()
	must(t, os.WriteFile(v.back("d/other"), lost, 0o644))
	v.wantNoticed("d/other")
}

// After a mount that did not end cleanly, a file without content may be what a crash has left. One that
// was recorded before is not.
func attackEmptiedAfterCrash(t *testing.T) {
	v := ledgerVolume(t)
	v.mount()
	write(t, v.path("new"), "new")
	v.kill()
	sh(t, v.Back, "setfattr -x user.kmsfs.hint d/f; truncate -s 0 d/f")
	v.wantNoticed("d/f")
}

// What the user has accepted after a restore is right, and nothing older is.
func attackAccepted(t *testing.T) {
	v := ledgerVolume(t)
	restore := v.snapshot()
	v.mount()
	write(t, v.path("d/f"), "newer")
	v.umount()
	later := v.snapshot()
	restore("")
	v.wantUnmountable()
	v.kmsfs("ledger", "accept", v.Back)
	v.mount()
	wantContent(t, v.path("d/f"), "content of f")
	write(t, v.path("d/f"), "newer still")
	v.umount()
	restore("")
	v.wantUnmountable()
	later("")
	v.wantUnmountable()
}

// Kills and clean ends in any order, under many changes of names, and never a false alarm.
func TestLedgerRaisesNoFalseAlarmWhenTheDaemonIsKilled(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 9))
	v := mountedVolume(t)
	c := newCast(t, v, rng, 3)
	for i := range crashRounds(5) {
		pid := v.daemonPID()
		kill := func() { must(t, unix.Kill(pid, unix.SIGKILL)) }
		if i%2 == 1 {
			kill = func() {}
		}
		c.perform(time.Duration(100+rng.IntN(700))*time.Millisecond, kill)
		v.umount()
		v.wantNoAlarmOfFsck()
		v.mount()
		c.check(t)
		v.wantNoAlarm()
		for _, a := range c {
			a.down.Store(false)
		}
	}
	v.umount()
	if out := v.kmsfs("ledger", "verify", v.Back); !strings.Contains(out, "Violations:   0") {
		t.Error(out)
	}
}

// wantNoAlarmOfFsck fails the test if fsck takes what a kill has left for a rollback.
func (v *volume) wantNoAlarmOfFsck() {
	v.t.Helper()
	if out, _, _ := v.try("fsck", v.Back); strings.Contains(out, "rolled-back") {
		v.t.Error(out)
	}
}

// wantNoAlarm fails the test if the ledger found anything.
func (v *volume) wantNoAlarm() {
	v.t.Helper()
	logs, _ := filepath.Glob(filepath.Join(v.State, "log", "*.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		must(v.t, err)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "the ledger knows") || strings.Contains(line, "ledger not written") {
				v.t.Error(line)
			}
		}
	}
}

// The store is taken to another machine, used there, and brought back.
func TestLedgerAllowsUseElsewhere(t *testing.T) {
	v := ledgerVolume(t)
	away := &volume{t: t, State: v.State, Back: v.Back, Mnt: v.Mnt, options: []string{"-o", "noledger"}}
	away.mount()
	write(t, away.path("d/new"), "written elsewhere")
	must(t, os.Remove(away.path("d/other")))
	must(t, os.Rename(away.path("d/sub"), away.path("moved")))
	write(t, away.path("d/f"), "content of f, later")
	away.umount()
	v.wantNoAlarmOfFsck()
	for range 2 {
		v.mount()
		wantContent(t, v.path("d/new"), "written elsewhere")
		wantContent(t, v.path("d/f"), "content of f, later")
		wantContent(t, v.path("moved/f"), "content of sub/f")
		v.umount()
	}
	v.wantNoAlarm()
}

// A power cut loses what was not flushed, of the store and of the ledger.
func TestLedgerRaisesNoFalseAlarmAfterAPowerCut(t *testing.T) {
	onDisks(t, func(t *testing.T, d *disk, v *volume) {
		v.mount()
		for round := range 3 {
			dir := v.path(string(rune('a' + round)))
			for i := range 30 {
				sub := filepath.Join(dir, string(rune('a'+i)))
				must(t, os.MkdirAll(sub, 0o755))
				write(t, filepath.Join(sub, "f"), "content")
			}
			if round != 1 {
				v.remount() // all of it is recorded
			}
			sh(t, dir, "for d in *; do mv $d/f $d/g; echo x >$d/f; done; mkdir new; rm -r b; mv c C; ln d/f d/l; ln -s x s")
			must(t, fsync(filepath.Join(dir, "a")))
			v.powerCycle(d)
			sh(t, v.Mnt, "find . -type f -exec cat {} + >/dev/null")
			v.wantNoAlarm()
		}
	})
}
