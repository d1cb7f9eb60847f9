package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// These tests make the state of the store that a crash at one certain moment leaves, and mount it.

// kill ends the daemon as a crash does and clears the dead mount away.
func (v *volume) kill() {
	v.t.Helper()
	must(v.t, unix.Kill(v.daemonPID(), unix.SIGKILL))
	v.umount()
}

// A crash between the rename log's entry and the exchange of two directories.
func TestExchangeThatACrashPreventedLeavesBothDirectoriesReadable(t *testing.T) {
	for _, flags := range [][]string{nil, {"-o", "ro"}} {
		v, store := movedVolume(t)
		before := filepath.Join(t.TempDir(), "before")
		sh(t, "/", "cp -a "+v.Back+" "+before)
		v.mount()
		must(t, renameat2(v.path("x"), v.path("y"), unix.RENAME_EXCHANGE))
		v.kill()
		identity, entry := map[string]string{}, map[string]string{}
		for _, d := range []string{"x", "y"} {
			target, err := os.Readlink(filepath.Join(store[d], "kmsfs.dir"))
			must(t, err)
			identity[d] = target
			entry[d], err = os.Readlink(filepath.Join(store[d], "kmsfs.dir.log"))
			must(t, err)
		}
		sh(t, "/", "cd "+v.Back+" && mv kmsfs.renames kmsfs.mounts .. && find . -mindepth 1 -delete && cp -a "+before+"/. . && mv ../kmsfs.renames ../kmsfs.mounts .")
		// Both identities for the new places stand beside the old ones.
		must(t, os.Symlink(identity["y"], filepath.Join(store["x"], "kmsfs.dir.new")))
		must(t, os.Symlink(identity["x"], filepath.Join(store["y"], "kmsfs.dir.new")))
		must(t, os.Symlink(entry["y"], filepath.Join(store["x"], "kmsfs.dir.log")))
		must(t, os.Symlink(entry["x"], filepath.Join(store["y"], "kmsfs.dir.log")))
		v.mount(flags...)
		v.wantAllAsWritten()
		v.remount()
		v.wantAllAsWritten()
		must(t, os.Rename(v.path("x"), v.path("z")))
		must(t, os.Rename(v.path("y"), v.path("x")))
		must(t, os.Rename(v.path("z"), v.path("y")))
		v.remount()
		wantContent(t, v.path("x/f"), "content of y/f")
		wantContent(t, v.path("y/f"), "content of x/f")
		v.umount()
	}
}

// The same between the entry and the plain rename of a directory: the log then says that nothing is
// left where the directory still is.
func TestRenameThatACrashPreventedLeavesTheDirectoryReadable(t *testing.T) {
	for _, flags := range [][]string{nil, {"-o", "ro"}} {
		v, store := movedVolume(t)
		v.mount()
		must(t, os.Rename(v.path("x"), v.path("z")))
		next, err := os.Readlink(filepath.Join(v.storePath("z"), "kmsfs.dir"))
		must(t, err)
		must(t, os.Rename(v.path("z"), v.path("x")))
		here, err := os.Readlink(filepath.Join(store["x"], "kmsfs.dir"))
		must(t, err)
		must(t, os.Rename(v.path("x"), v.path("z")))
		z := v.storePath("z")
		v.kill()
		must(t, os.Rename(z, store["x"]))
		must(t, os.Remove(filepath.Join(store["x"], "kmsfs.dir")))
		must(t, os.Symlink(here, filepath.Join(store["x"], "kmsfs.dir")))
		must(t, os.Symlink(next, filepath.Join(store["x"], "kmsfs.dir.new")))
		v.mount(flags...)
		v.wantAllAsWritten()
		v.remount()
		v.wantAllAsWritten()
		v.umount()
	}
}

// The same as an exchange that did happen, before the identities were settled.
func TestExchangeThatACrashInterruptedIsFinished(t *testing.T) {
	v, store := movedVolume(t)
	old := map[string]string{}
	for _, d := range []string{"x", "y"} {
		target, err := os.Readlink(filepath.Join(store[d], "kmsfs.dir"))
		must(t, err)
		old[d] = target
	}
	v.mount()
	must(t, renameat2(v.path("x"), v.path("y"), unix.RENAME_EXCHANGE))
	v.kill()
	for place, was := range map[string]string{"x": "y", "y": "x"} {
		must(t, os.Rename(filepath.Join(store[place], "kmsfs.dir"), filepath.Join(store[place], "kmsfs.dir.new")))
		must(t, os.Symlink(old[was], filepath.Join(store[place], "kmsfs.dir")))
	}
	v.mount()
	for range 2 {
		wantContent(t, v.path("x/f"), "content of y/f")
		wantContent(t, v.path("y/f"), "content of x/f")
		v.remount()
	}
}

// What crashes leave in a directory does not keep it from being removed.
func TestDirectoryWithLeftoversOfACrashCanBeRemoved(t *testing.T) {
	for name, flags := range namesModes {
		t.Run(name, func(t *testing.T) {
			v, store := movedVolume(t, flags...)
			v.mount()
			must(t, os.Remove(v.path("d/a")))
			v.kill()
			must(t, os.Symlink("some target", filepath.Join(store["d"], "kmsfs.tmp-0123")))
			must(t, os.WriteFile(filepath.Join(store["d"], "kmsfs.tmp-4567"), nil, 0o600))
			must(t, os.Symlink("a companion", filepath.Join(store["d"], "kmsfs.long.AAAA.name")))
			v.mount()
			sh(t, v.Mnt, "test -z \"$(ls -A d)\" && mkdir e && mv -T d e && rmdir e")
		})
	}
}

// A crash between the two steps of mkdir or rmdir.
func TestDirectoryWithoutIdentityIsEmpty(t *testing.T) {
	v, store := movedVolume(t)
	v.mount()
	must(t, os.Remove(v.path("d/a")))
	v.kill()
	must(t, os.Remove(filepath.Join(store["d"], "kmsfs.dir")))
	v.mount("-o", "ro")
	sh(t, v.Mnt, "test -z \"$(ls -A d)\"")
	v.remount()
	write(t, v.path("d/new"), "new")
	v.remount()
	wantContent(t, v.path("d/new"), "new")
	v.umount()
	must(t, os.Remove(filepath.Join(store["d"], "kmsfs.dir")))
	v.mount()
	_, err := os.ReadDir(v.path("d"))
	wantErrno(t, "list a directory with a file whose identity is gone", err, unix.EKEYREJECTED)
}

// emptied are the ways in which a crash leaves a file that was never fsynced.
var emptied = map[string]func(path string) error{
	"no content": func(path string) error { return os.Truncate(path, 0) },
	"all zeros":  func(path string) error { return os.WriteFile(path, make([]byte, 3*4096), 0o644) },
}

// A file that was made but never written before a crash is an empty file, as on other filesystems.
func TestFileThatACrashLeftUnwrittenIsEmpty(t *testing.T) {
	for name, empty := range emptied {
		t.Run(name, func(t *testing.T) {
			v, store := unsyncedVolume(t)
			must(t, empty(store["a"]))
			must(t, empty(store["b"]))
			must(t, empty(store["d/a"]))
			v.mount("-o", "ro")
			wantContent(t, v.path("a"), "")
			wantContent(t, v.path("a2"), "")
			v.remount()
			wantContent(t, v.path("a"), "")
			write(t, v.path("a2"), "second name")
			must(t, os.Rename(v.path("b"), v.path("b2")))
			wantContent(t, v.path("b2"), "")
			must(t, unix.Setxattr(v.path("d/a"), "user.note", []byte("x"), 0))
			must(t, os.Truncate(v.path("d/a"), 3))
			v.remount()
			wantContent(t, v.path("a2"), "second name")
			wantContent(t, v.path("b2"), "")
			wantContent(t, v.path("d/a"), "\x00\x00\x00")
			if st, err := os.Stat(v.path("a")); err != nil || st.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v", st.Mode(), err)
			}
			sh(t, v.Mnt, "rm -r -- * && test -z \"$(ls -A)\"")
		})
	}
}

// unsyncedVolume makes a volume that was mounted once, by a mount that a crash ended, with files a
// (also called a2), b and d/a that nobody has fsynced.
func unsyncedVolume(t *testing.T) (*volume, map[string]string) {
	t.Helper()
	v := mountedVolume(t)
	must(t, os.Mkdir(v.path("d"), 0o755))
	store := map[string]string{}
	for _, f := range []string{"a", "b", "d/a"} {
		write(t, v.path(f), "content of "+f)
		store[f] = v.storePath(f)
	}
	must(t, os.Link(v.path("a"), v.path("a2")))
	must(t, os.Chmod(v.path("a"), 0o640))
	v.kill()
	return v, store
}

// A file that a mount has written which ended cleanly was not made by a crash that came later.
func TestEmptiedFileFromBeforeACrashIsAnError(t *testing.T) {
	for name, empty := range emptied {
		t.Run(name, func(t *testing.T) {
			v, store := movedVolume(t)
			v.mount()
			v.kill()
			must(t, empty(store["a"]))
			v.mount()
			_, err := os.ReadFile(v.path("a"))
			wantErrno(t, "read an emptied file", err, unix.EIO)
		})
	}
}

// Known names of one file stay names of one file.
func TestLinksOfAnUnwrittenFileStayTogether(t *testing.T) {
	v, store := unsyncedVolume(t)
	must(t, os.Truncate(store["a"], 0))
	v.mount()
	sh(t, v.Mnt, "stat a a2 >/dev/null && echo both > a && test \"$(cat a2)\" = both && test a -ef a2")
	v.remount()
	sh(t, v.Mnt, "test \"$(cat a2)\" = both && test \"$(cat a)\" = both && test a -ef a2")
}

// Without a crash an emptied file is an attack.
func TestEmptiedFileIsAnErrorWhenAllMountsEndedCleanly(t *testing.T) {
	for name, empty := range emptied {
		t.Run(name, func(t *testing.T) {
			v, store := movedVolume(t)
			must(t, empty(store["a"]))
			must(t, unix.Removexattr(store["a"], "user.kmsfs.hint")) // which a thief can remove
			v.mount()
			_, err := os.ReadFile(v.path("a"))
			wantErrno(t, "read an emptied file", err, unix.EIO)
			wantErrno(t, "rename an emptied file", os.Rename(v.path("a"), v.path("z")), unix.EIO)
		})
	}
}

// A store without room: umount ends, says so, and the next mount takes nothing for clean.
func TestUmountOfAFullStoreReportsWhatWasLost(t *testing.T) {
	dir := t.TempDir()
	if err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m", "none", dir).Run(); err != nil {
		t.Skip("mounting a tmpfs needs root")
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	v := &volume{t: t, State: filepath.Join(t.TempDir(), "state"), Back: filepath.Join(dir, "back"), Mnt: t.TempDir()}
	v.kmsfs("init", v.Back)
	v.mount()
	write(t, v.path("kept"), "kept")
	must(t, fsync(v.path("kept")))
	f, err := os.Create(v.path("large"))
	must(t, err)
	f.Write(make([]byte, 3<<20))                                           // taken by the kernel's cache
	os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 4<<20), 0o600) // takes all room there is
	f.Close()
	v.giveUp()
	must(t, os.Remove(filepath.Join(dir, "filler")))
	v.mount()
	wantContent(t, v.path("kept"), "kept")
	if _, err := os.ReadFile(v.path("large")); err != nil {
		t.Error(err)
	}
}
