package integration

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Each case changes the store while the volume is not mounted, and is undone afterwards: nothing may
// be lost by having looked.

// namesModes are the two ways of keeping names in the store.
var namesModes = map[string][]string{"encrypted": nil, "plaintext": {"--plaintext-names"}}

// movedVolume makes a volume with files a and b, a directory d with file a in it, directories
// x and y with a file f each, and unmounts it. The paths in the store come back by plaintext path.
func movedVolume(t *testing.T, flags ...string) (*volume, map[string]string) {
	t.Helper()
	v := withoutLedger(t, flags...)
	for _, dir := range []string{"d", "x", "y"} {
		must(t, os.Mkdir(v.path(dir), 0o755))
	}
	for _, f := range []string{"a", "b", "d/a", "x/f", "y/f"} {
		write(t, v.path(f), "content of "+f)
	}
	must(t, os.Symlink("target of l", v.path("l")))
	must(t, os.Symlink("target of m", v.path("m")))
	store := map[string]string{}
	for _, p := range []string{"a", "b", "d", "d/a", "x", "y", "x/f", "y/f", "l", "m"} {
		store[p] = v.storePath(p)
	}
	v.umount()
	return v, store
}

// wantAllAsWritten checks everything that movedVolume wrote.
func (v *volume) wantAllAsWritten() {
	v.t.Helper()
	for _, f := range []string{"a", "b", "d/a", "x/f", "y/f"} {
		wantContent(v.t, v.path(f), "content of "+f)
	}
	for _, l := range []string{"l", "m"} {
		if target, err := os.Readlink(v.path(l)); err != nil || target != "target of "+l {
			v.t.Errorf("readlink %s: %q, %v", l, target, err)
		}
	}
}

// swap exchanges two names of the store.
func swap(t *testing.T, a, b string) {
	t.Helper()
	must(t, unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE))
}

// copyFile copies content and extended attributes, as cp -a does.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	sh(t, filepath.Dir(from), "cp -a --remove-destination '"+from+"' '"+to+"'")
}

// undone changes the store of an unmounted movedVolume, checks what a mount says of it, and takes the
// change back: then everything must be as it was written.
func undone(v *volume, change func() (undo func()), check func()) {
	v.t.Helper()
	undo := change()
	v.mount()
	check()
	v.umount()
	undo()
	v.mount()
	v.wantAllAsWritten()
}

// attackSwap exchanges two files, directories or symbolic links in the store, in both ways of keeping names.
func attackSwap(a, b string, check func(v *volume)) func(t *testing.T) {
	return func(t *testing.T) {
		for name, flags := range namesModes {
			t.Run(name, func(t *testing.T) {
				v, store := movedVolume(t, flags...)
				exchange := func() { swap(t, store[a], store[b]) }
				undone(v, func() func() { exchange(); return exchange }, func() { check(v) })
			})
		}
	}
}

func wantFilesSwapped(v *volume) {
	wantRejected(v.t, v.path("a"))
	wantRejected(v.t, v.path("b"))
	wantText(v.t, cat(v.path("a")), "Key was rejected by service")
	wantErrno(v.t, "open for writing", os.WriteFile(v.path("a"), []byte("new"), 0o644), unix.EKEYREJECTED)
	wantContent(v.t, v.path("d", "a"), "content of d/a")
}

// With encrypted names the same plaintext name has another spelling in every directory; the store's
// owner knows both files and swaps them.
func wantSwappedBetweenDirectories(v *volume) {
	wantRejected(v.t, v.path("a"))
	wantRejected(v.t, v.path("d", "a"))
}

func wantDirectoriesSwapped(v *volume) {
	_, err := os.Lstat(v.path("x"))
	wantErrno(v.t, "lookup of x", err, unix.EKEYREJECTED)
	wantErrno(v.t, "open in y", openErr(v.path("y", "f")), unix.EKEYREJECTED)
	wantContent(v.t, v.path("a"), "content of a")
}

func wantSymlinksSwapped(v *volume) {
	target, err := os.Readlink(v.path("l"))
	if err == nil {
		v.t.Fatalf("readlink of a swapped symlink: %q", target)
	}
	wantErrno(v.t, "readlink", err, unix.EKEYREJECTED)
}

func attackFileCopiedOver(t *testing.T) {
	for name, flags := range namesModes {
		t.Run(name, func(t *testing.T) {
			v, store := movedVolume(t, flags...)
			kept := filepath.Join(t.TempDir(), "b")
			undone(v, func() func() {
				copyFile(t, store["b"], kept)
				copyFile(t, store["a"], store["b"])
				return func() { copyFile(t, kept, store["b"]) }
			}, func() {
				wantRejected(t, v.path("b"))
				wantContent(t, v.path("a"), "content of a")
			})
		})
	}
}

// Overwriting the bytes keeps the inode and its attributes: only the header is another file's.
func attackContentOfAnother(t *testing.T) {
	v, store := movedVolume(t)
	undone(v, func() func() {
		kept, err := os.ReadFile(store["b"])
		must(t, err)
		a, err := os.ReadFile(store["a"])
		must(t, err)
		must(t, os.WriteFile(store["b"], a, 0o644))
		return func() { must(t, os.WriteFile(store["b"], kept, 0o644)) }
	}, func() { wantRejected(t, v.path("b")) })
}

// rename renames within the store; undo takes it back.
func rename(t *testing.T, from, to string) (undo func()) {
	t.Helper()
	must(t, os.Rename(from, to))
	return func() { must(t, os.Rename(to, from)) }
}

// With plaintext names whoever owns the store can choose any name, with encrypted ones only such
// that the volume made in that directory.
func attackRenamedFile(t *testing.T) {
	v, store := movedVolume(t, "--plaintext-names")
	undone(v, func() func() { return rename(t, store["a"], filepath.Join(v.Back, "renamed")) },
		func() { wantRejected(t, v.path("renamed")) })
}

func attackNameOfAnotherDirectory(t *testing.T) {
	v, store := movedVolume(t)
	other := filepath.Join(v.Back, filepath.Base(store["d/a"])) // a name of another directory
	undone(v, func() func() { return rename(t, store["a"], other) }, func() {
		entries, _ := os.ReadDir(v.Mnt)
		for _, e := range entries {
			if e.Name() == "a" {
				t.Error("the file is still listed")
			}
		}
		wantErrno(t, "open", openErr(v.path("a")), unix.ENOENT)
	})
}

func attackFileMoved(t *testing.T) {
	v, store := movedVolume(t, "--plaintext-names")
	kept := filepath.Join(t.TempDir(), "da")
	undone(v, func() func() {
		copyFile(t, store["d/a"], kept)
		back := rename(t, store["a"], store["d/a"])
		return func() { back(); copyFile(t, kept, store["d/a"]) }
	}, func() { wantRejected(t, v.path("d", "a")) })
}

func attackSwappedIdentities(t *testing.T) {
	v, store := movedVolume(t, "--plaintext-names")
	exchange := func() {
		swap(t, filepath.Join(store["x"], "kmsfs.dir"), filepath.Join(store["y"], "kmsfs.dir"))
	}
	undone(v, func() func() { exchange(); return exchange },
		func() { wantErrno(t, "open in x", openErr(v.path("x", "f")), unix.EKEYREJECTED) })
}

// After a rename inside the mount the old path's wrapped key is gone: moving the store file back does
// not bring the old name to life.
func attackOldNameOfFile(t *testing.T) {
	for name, flags := range namesModes {
		t.Run(name, func(t *testing.T) {
			v := withoutLedger(t, flags...)
			write(t, v.path("old"), "content")
			oldStore := v.storePath("old")
			must(t, os.Rename(v.path("old"), v.path("new")))
			newStore := v.storePath("new")
			v.umount()
			must(t, os.Rename(newStore, oldStore))
			v.mount()
			wantRejected(t, v.path("old"))
			v.umount()
			must(t, os.Rename(oldStore, newStore))
			v.mount()
			wantContent(t, v.path("new"), "content")
		})
	}
}

// The same after a rename of a directory above, which does not touch the files.
func attackOldNameOfDirectory(t *testing.T) {
	v := withoutLedger(t, "--plaintext-names")
	must(t, os.MkdirAll(v.path("old", "sub"), 0o755))
	write(t, v.path("old", "sub", "file"), "content")
	must(t, os.Rename(v.path("old"), v.path("new")))
	wantContent(t, v.path("new", "sub", "file"), "content")
	v.umount()
	must(t, os.Rename(filepath.Join(v.Back, "new"), filepath.Join(v.Back, "old")))
	v.mount()
	wantErrno(t, "open", openErr(v.path("old", "sub", "file")), unix.EKEYREJECTED)
	v.umount()
	must(t, os.Rename(filepath.Join(v.Back, "old"), filepath.Join(v.Back, "new")))
	v.mount()
	wantContent(t, v.path("new", "sub", "file"), "content")
}

// An unlinked link's slot is dropped: the file does not come back under that name.
func attackRemovedLink(t *testing.T) {
	v := withoutLedger(t, "--plaintext-names")
	write(t, v.path("one"), "content")
	must(t, os.Link(v.path("one"), v.path("two")))
	must(t, os.Remove(v.path("two")))
	v.umount()
	must(t, os.Link(filepath.Join(v.Back, "one"), filepath.Join(v.Back, "two")))
	v.mount()
	wantRejected(t, v.path("two"))
	wantContent(t, v.path("one"), "content")
}

// A file of another volume is not taken, even where both have the same key.
func attackFileOfAnotherVolume(t *testing.T) {
	a, b, _ := twoVolumes(t)
	from, to := a.storePath("file"), b.storePath("file")
	a.umount()
	b.umount()
	kept := filepath.Join(t.TempDir(), "kept")
	copyFile(t, to, kept)
	copyFile(t, from, to)
	b.mount()
	wantRejected(t, b.path("file"))
	b.umount()
	copyFile(t, kept, to)
	b.mount()
	f, err := os.Open(b.path("file"))
	must(t, err)
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != "before" {
		t.Errorf("%q, %v", got, err)
	}
}
