package integration

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tmpfsVolume makes a volume whose backing directory is on a filesystem of its own of the given size.
func tmpfsVolume(t *testing.T, size string) *volume {
	t.Helper()
	disk := t.TempDir()
	must(t, unix.Mount("kmsfs-test", disk, "tmpfs", 0, "size="+size))
	t.Cleanup(func() { must(t, unix.Unmount(disk, unix.MNT_DETACH)) })
	dir := t.TempDir()
	v := &volume{t: t, State: filepath.Join(dir, "state"), Back: filepath.Join(disk, "back"), Mnt: filepath.Join(dir, "mnt")}
	must(t, os.Mkdir(v.Mnt, 0o755))
	v.kmsfs("init", v.Back)
	return v
}

// fill writes to a new file until the disk is full, and syncs. It returns the first error.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	block := bytes.Repeat([]byte("fill"), 64<<10)
	for range 200 {
		if _, err = f.Write(block); err != nil {
			break
		}
	}
	return errors.Join(err, f.Sync(), f.Close())
}

func TestFullDiskLosesNothingAndWorksAgain(t *testing.T) {
	v := tmpfsVolume(t, "16m")
	v.mount()
	earlier := strings.Repeat("earlier", 50_000)
	write(t, v.path("earlier"), earlier)
	sh(t, v.Mnt, "sync earlier")
	err := fill(v.path("big"))
	wantErrno(t, "50 MiB on a disk of 16 MiB", err, unix.ENOSPC)
	wantContent(t, v.path("earlier"), earlier)
	must(t, os.Remove(v.path("big")))
	v.waitNoKeys()
	again := strings.Repeat("again", 50_000)
	write(t, v.path("again"), again)
	sh(t, v.Mnt, "sync again")
	v.remount()
	wantContent(t, v.path("earlier"), earlier)
	wantContent(t, v.path("again"), again)
}

// Overwriting needs space too, since nothing is overwritten in place: it may fail, and then the old
// data is there.
func TestOverwriteOnAFullDiskKeepsOldOrNewData(t *testing.T) {
	v := tmpfsVolume(t, "8m")
	v.mount()
	old := bytes.Repeat([]byte("old!"), 256<<10)
	must(t, os.WriteFile(v.path("file"), old, 0o644))
	sh(t, v.Mnt, "sync file")
	wantErrno(t, "fill", fill(v.path("big")), unix.ENOSPC)
	f, err := os.OpenFile(v.path("file"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	fresh := bytes.Repeat([]byte("new!"), 256<<10)
	_, err = f.WriteAt(fresh, 0)
	if err = errors.Join(err, f.Sync()); err != nil {
		wantErrno(t, "overwrite", err, unix.ENOSPC)
	}
	must(t, os.Remove(v.path("big")))
	// There is room again once the daemon has given up the file; the kernel repeats an old failure once.
	eventually(t, 10*time.Second, "the file can be synced", func() bool { return f.Sync() == nil })
	must(t, f.Close())
	v.remount()
	got, err := os.ReadFile(v.path("file"))
	must(t, err)
	for i := 0; i < len(got); i += 4 {
		if s := string(got[i : i+4]); s != "old!" && s != "new!" {
			t.Fatalf("%q at %d", s, i)
		}
	}
	if len(got) != len(old) {
		t.Errorf("%d bytes, want %d", len(got), len(old))
	}
}

func TestReadOnlyBackingDirectory(t *testing.T) {
	v := tmpfsVolume(t, "16m")
	v.mount()
	write(t, v.path("file"), "content")
	must(t, os.Symlink("target", v.path("link")))
	v.umount()
	disk := filepath.Dir(v.Back)
	must(t, unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	_, stderr, err := v.try("mount", v.Back, v.Mnt)
	if err == nil {
		t.Fatal("mounts read-write on a read-only disk")
	}
	v.oneLineAndHints(stderr)
	wantText(t, stderr, "-o ro")
	v.mount("-o", "ro")
	wantReadOnly(t, v)
	v.umount()
	must(t, unix.Mount("", disk, "", unix.MS_REMOUNT, ""))
	v.mount()
	write(t, v.path("file"), "changed")
}

func TestReadOnlyMountChangesNothing(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("file"), "content")
	must(t, os.Symlink("target", v.path("link")))
	v.umount()
	list := "find . -printf '%p %s %T@ %C@\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum"
	before := sh(t, v.Back, list)
	v.mount("-o", "ro")
	wantReadOnly(t, v)
	v.umount()
	if after := sh(t, v.Back, list); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

// wantReadOnly reads everything and tries to change something.
func wantReadOnly(t *testing.T, v *volume) {
	t.Helper()
	wantContent(t, v.path("file"), "content")
	if target, err := os.Readlink(v.path("link")); err != nil || target != "target" {
		t.Errorf("readlink: %q, %v", target, err)
	}
	wantErrno(t, "write", os.WriteFile(v.path("file"), []byte("x"), 0o644), unix.EROFS)
	wantErrno(t, "create", os.WriteFile(v.path("new"), nil, 0o644), unix.EROFS)
	wantErrno(t, "mkdir", os.Mkdir(v.path("dir"), 0o755), unix.EROFS)
	wantErrno(t, "unlink", os.Remove(v.path("file")), unix.EROFS)
	wantErrno(t, "rename", os.Rename(v.path("file"), v.path("to")), unix.EROFS)
	wantErrno(t, "chmod", os.Chmod(v.path("file"), 0o600), unix.EROFS)
	wantErrno(t, "truncate", os.Truncate(v.path("file"), 0), unix.EROFS)
}
