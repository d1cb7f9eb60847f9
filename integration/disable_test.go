package integration

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// twoVolumes mounts two volumes of one key service under one key, and returns a third of the same
// service under a key of its own.
func twoVolumes(t *testing.T) (a, b, other *volume) {
	t.Helper()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	other = newVolumeIn(t, filepath.Join(dir, "other"), state)
	other.kmsfs("key", "create", "--alias", "alias/both")
	a = newVolumeIn(t, filepath.Join(dir, "a"), state, "--key-id", "alias/both")
	b = newVolumeIn(t, filepath.Join(dir, "b"), state, "--key-id", "alias/both")
	for _, v := range []*volume{a, b, other} {
		v.mount()
		write(t, v.path("file"), "before")
	}
	return a, b, other
}

func TestDisabledKeyStopsTheNextOpenInEveryMount(t *testing.T) {
	a, b, other := twoVolumes(t)
	var open []*os.File
	for _, v := range []*volume{a, b} {
		write(t, v.path("used"), "in use")
		f, err := os.OpenFile(v.path("used"), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		open = append(open, f)
	}
	other.kmsfs("key", "disable", "alias/both")
	for i, v := range []*volume{a, b} {
		wantErrno(t, "open", openErr(v.path("file")), unix.EKEYREVOKED)
		wantText(t, cat(v.path("file")), "Key has been revoked")
		wantErrno(t, "second open of an open file", openErr(v.path("used")), unix.EKEYREVOKED)
		wantErrno(t, "create", os.WriteFile(v.path("new"), nil, 0o644), unix.EKEYREVOKED)
		wantStillUsable(t, open[i])
	}
	wantContent(t, other.path("file"), "before")
	for i, v := range []*volume{a, b} {
		must(t, open[i].Close())
		v.waitNoKeys()
		wantErrno(t, "open after the last close", openErr(v.path("used")), unix.EKEYREVOKED)
		if _, err := os.Lstat(v.path("new")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the refused create left something: %v", err)
		}
	}
	other.kmsfs("key", "enable", "alias/both")
	for _, v := range []*volume{a, b} {
		wantContent(t, v.path("file"), "before")
		wantContent(t, v.path("used"), "still in use, and longer")
	}
}

// wantStillUsable reads, writes, truncates and syncs through an open file.
func wantStillUsable(t *testing.T, f *os.File) {
	t.Helper()
	got := make([]byte, 6)
	_, err := f.ReadAt(got, 0)
	must(t, err)
	if string(got) != "in use" {
		t.Fatalf("read %q through the open file", got)
	}
	must(t, f.Truncate(0))
	_, err = f.WriteAt([]byte("still in use, and longer"), 0)
	must(t, err)
	must(t, f.Sync())
	must(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)) // the next read comes from the daemon
	all, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
	must(t, err)
	if string(all) != "still in use, and longer" {
		t.Fatalf("read %q through the open file", all)
	}
}

func TestDisabledDecryptIsInTheAuditTrail(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("file"), "x")
	id, key := v.info()
	v.kmsfs("key", "disable", key)
	wantErrno(t, "open", openErr(v.path("file")), unix.EKEYREVOKED)
	records := v.audit("--errors", "--path", "/file")
	if !slices.ContainsFunc(records, func(r auditRecord) bool {
		return r.EventName == "Decrypt" && r.ErrorCode == "DisabledException" &&
			r.RequestParameters.EncryptionContext["kmsfs:volume-id"] == id &&
			r.RequestParameters.EncryptionContext["kmsfs:path"] == "/file"
	}) {
		t.Errorf("no failed Decrypt in %+v", records)
	}
	v.kmsfs("audit", "verify")
	v.kmsfs("key", "enable", key)
}

func TestEveryOpenIsOneDecrypt(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("file"), "x")
	before := len(v.audit("--event", "Decrypt", "--path", "/file"))
	for range 5 {
		must(t, openErr(v.path("file")))
	}
	if got := len(v.audit("--event", "Decrypt", "--path", "/file")) - before; got != 5 {
		t.Errorf("5 opens made %d Decrypt records", got)
	}
}

func TestKeyPendingDeletionHasExpired(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("file"), "before")
	_, key := v.info()
	v.kmsfs("key", "schedule-deletion", "--days", "7", key)
	wantErrno(t, "open", openErr(v.path("file")), unix.EKEYEXPIRED)
	wantText(t, cat(v.path("file")), "Key has expired")
	wantErrno(t, "create", os.WriteFile(v.path("new"), nil, 0o644), unix.EKEYEXPIRED)
	v.kmsfs("key", "cancel-deletion", key)
	wantErrno(t, "open while disabled", openErr(v.path("file")), unix.EKEYREVOKED)
	v.kmsfs("key", "enable", key)
	wantContent(t, v.path("file"), "before")
}

// AWS has the same message for material that has expired and for material that was never there.
func TestImportedMaterialThatExpiredHasExpired(t *testing.T) {
	r := newRemoteVolume(t)
	here := &volume{t: t, State: r.keys.vol.State, Back: r.keys.dir + "/here", Mnt: r.keys.dir + "/here-mnt"}
	must(t, os.MkdirAll(here.Mnt, 0o755))
	material := r.keys.dir + "/material"
	write(t, material, strings.Repeat("k", 32))
	const key = "alias/imported"
	here.kmsfs("key", "create", "--alias", key, "--origin", "EXTERNAL")
	here.kmsfs("key", "import", key, "--in", material)
	must(t, os.RemoveAll(r.Back))
	r.kmsfs(append(append([]string{"init", "--key-id", key}, r.options...), r.Back)...)
	here.kmsfs("init", "--key-id", key, here.Back)
	volumes := []*volume{r.volume, here}
	for _, v := range volumes {
		v.mount()
		write(t, v.path("file"), "content")
	}
	here.kmsfs("key", "delete-material", key)
	for _, v := range volumes {
		wantErrno(t, "open without material", openErr(v.path("file")), unix.ENOKEY)
	}
	here.kmsfs("key", "import", key, "--in", material, "--expires", "2s")
	for until := time.Now().Add(time.Minute); openErr(here.path("file")) == nil && time.Now().Before(until); {
		time.Sleep(100 * time.Millisecond)
	}
	for _, v := range volumes {
		wantErrno(t, "open", openErr(v.path("file")), unix.EKEYEXPIRED)
		wantText(t, cat(v.path("file")), "Key has expired")
		wantErrno(t, "create", os.WriteFile(v.path("new"), nil, 0o644), unix.EKEYEXPIRED)
		wantErrno(t, "rename", os.Rename(v.path("file"), v.path("new")), unix.EKEYEXPIRED)
		v.umount()
		_, stderr, err := v.try(append(append([]string{"mount"}, v.options...), v.Back, v.Mnt)...)
		if err == nil {
			t.Error("mounted without key material")
		}
		wantText(t, stderr, "imported key material that has expired", "hint: import the same key material again")
	}
	here.kmsfs("key", "import", key, "--in", material)
	for _, v := range volumes {
		v.mount()
		wantContent(t, v.path("file"), "content")
	}
}

func TestMetadataNeedsNoFileKey(t *testing.T) {
	v := mountedVolume(t)
	must(t, os.MkdirAll(v.path("dir", "sub"), 0o755))
	write(t, v.path("dir", "file"), "content")
	write(t, v.path("dir", "doomed"), "x")
	must(t, os.Symlink("file", v.path("dir", "link")))
	v.remount() // nothing is cached
	_, key := v.info()
	v.kmsfs("key", "disable", key)
	st, err := os.Stat(v.path("dir", "file"))
	must(t, err)
	if st.Size() != 7 {
		t.Errorf("size %d", st.Size())
	}
	names, err := os.ReadDir(v.path("dir"))
	must(t, err)
	if len(names) != 4 {
		t.Errorf("entries %v", names)
	}
	must(t, os.Chmod(v.path("dir", "file"), 0o600))
	must(t, os.Remove(v.path("dir", "doomed")))
	must(t, os.Rename(v.path("dir"), v.path("dir2")))
	must(t, os.Mkdir(v.path("dir3"), 0o755))
	if target, err := os.Readlink(v.path("dir2", "link")); err != nil || target != "file" {
		t.Errorf("readlink: %q, %v", target, err)
	}
	wantErrno(t, "open", openErr(v.path("dir2", "file")), unix.EKEYREVOKED)
	v.kmsfs("key", "enable", key)
	wantContent(t, v.path("dir2", "file"), "content")
}

func TestRefusedFileRenameLeavesBothNamesAsTheyWere(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("from"), "from")
	write(t, v.path("to"), "to")
	_, key := v.info()
	v.kmsfs("key", "disable", key)
	wantErrno(t, "rename", os.Rename(v.path("from"), v.path("to")), unix.EKEYREVOKED)
	wantErrno(t, "link", os.Link(v.path("from"), v.path("link")), unix.EKEYREVOKED)
	v.kmsfs("key", "enable", key)
	wantContent(t, v.path("from"), "from")
	wantContent(t, v.path("to"), "to")
}
