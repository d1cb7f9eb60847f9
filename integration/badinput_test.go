package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Every case must give one line of error, a hint and a fitting exit code or errno, and must lose
// nothing: the volume works again once the cause is gone.

func TestMountPointThatIsNoDirectory(t *testing.T) {
	v := newVolume(t)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "content")
	wantText(t, v.refused(codeFailure, "mount", v.Back, file), "not a directory")
	wantContent(t, file, "content")
	v.refused(codeNotFound, "mount", v.Back, filepath.Join(file, "below", "it"))
	v.mount()
}

func TestMountPointAndBackingThatOverlap(t *testing.T) {
	v := newVolume(t)
	inside := filepath.Join(v.Back, "inside")
	must(t, os.Mkdir(inside, 0o755))
	for _, mnt := range []string{v.Back, inside, filepath.Dir(v.Back)} {
		wantText(t, v.refused(codeFailure, "mount", v.Back, mnt), "overlap")
	}
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(v.Back, link))
	wantText(t, v.refused(codeFailure, "mount", link, inside), "overlap")
	must(t, os.Remove(inside))
	v.mount()
}

func TestBackingDirectoryThatIsNotEmptyOrForeign(t *testing.T) {
	v := newVolume(t)
	foreign := t.TempDir()
	v.refused(codeNotFound, "mount", foreign, v.Mnt)
	v.refused(codeNotFound, "mount", filepath.Join(foreign, "missing"), v.Mnt)
	write(t, filepath.Join(foreign, "precious"), "precious")
	v.refused(codeConflict, "init", foreign)
	v.refused(codeNotFound, "mount", foreign, v.Mnt)
	wantContent(t, filepath.Join(foreign, "precious"), "precious")
	v.refused(codeConflict, "init", v.Back) // a volume already
	file := filepath.Join(foreign, "file")
	write(t, file, "content")
	if _, stderr, err := v.try("init", file); err == nil {
		t.Error("init in a file")
	} else {
		v.oneLineAndHints(stderr)
	}
	v.mount()
}

func TestSecondMountOfAVolume(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("file"), "content")
	other := t.TempDir()
	wantText(t, v.refused(codeConflict, "mount", v.Back, other), "mounted already")
	v.refused(codeConflict, "mount", v.Back, v.Mnt)
	wantContent(t, v.path("file"), "content")
	if mounts(t, other) {
		t.Error("the refused mount is there")
	}
}

func TestWrongPIN(t *testing.T) {
	v := newVolume(t)
	pin := filepath.Join(v.State, "pin")
	right, err := os.ReadFile(pin)
	must(t, err)
	must(t, os.WriteFile(pin, []byte("0000\n"), 0o600))
	wantText(t, v.refused(codeKeys, "mount", v.Back, v.Mnt), "PIN")
	v.refused(codeKeys, "key", "list")
	must(t, os.Remove(pin))
	v.refused(codeKeys, "mount", v.Back, v.Mnt)
	must(t, os.WriteFile(pin, right, 0o600))
	v.mount()
}

func TestMissingModule(t *testing.T) {
	v := newVolume(t)
	config := filepath.Join(v.State, "config.json")
	right, err := os.ReadFile(config)
	must(t, err)
	var c map[string]any
	must(t, json.Unmarshal(right, &c))
	c["token"].(map[string]any)["module"] = "/usr/lib/no-such-module.so"
	wrong, err := json.Marshal(c)
	must(t, err)
	must(t, os.WriteFile(config, wrong, 0o600))
	wantText(t, v.refused(codeKeys, "mount", v.Back, v.Mnt), "no-such-module.so")
	must(t, os.WriteFile(config, right, 0o600))
	v.mount()
	fresh := &volume{t: t, State: filepath.Join(t.TempDir(), "state")}
	fresh.refused(codeKeys, "init", "--hsm-module", "/usr/lib/no-such-module.so", filepath.Join(t.TempDir(), "back"))
}

func TestTokenGoneWhileMounted(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("file"), "content")
	f, err := os.OpenFile(v.path("file"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	token := filepath.Join(v.State, "token", "tokens")
	must(t, os.Rename(token, token+"-away"))
	_, err = f.WriteAt([]byte("CONTENT"), 0)
	must(t, err)
	must(t, f.Sync())
	wantContentOf(t, f, "CONTENT")
	wantOpenOnlyFailsAs(t, v, unix.ETIMEDOUT)
	must(t, os.Rename(token+"-away", token))
	eventually(t, 20*time.Second, "files open again", func() bool { return openErr(v.path("file")) == nil })
	wantContent(t, v.path("file"), "CONTENT")
	must(t, f.Close())
	v.remount()
	wantContent(t, v.path("file"), "CONTENT")
}

// wantOpenOnlyFailsAs opens a few times: what the module has in memory may serve for a while, but a
// failure must be want.
func wantOpenOnlyFailsAs(t *testing.T, v *volume, want unix.Errno) {
	t.Helper()
	for range 5 {
		if err := openErr(v.path("file")); err != nil {
			wantErrno(t, "open without a token", err, want)
		}
	}
	_, stderr, err := v.try("key", "list")
	if err == nil {
		t.Error("kmsfs key list without a token")
		return
	}
	v.oneLineAndHints(stderr)
}

// wantContentOf reads through an open file.
func wantContentOf(t *testing.T, f *os.File, want string) {
	t.Helper()
	got := make([]byte, len(want))
	_, err := f.ReadAt(got, 0)
	must(t, err)
	if string(got) != want {
		t.Fatalf("read %q, want %q", got, want)
	}
}

func TestUnknownAliasOrKey(t *testing.T) {
	v := newVolume(t)
	dir := filepath.Join(t.TempDir(), "back")
	v.refused(codeNotFound, "init", "--key-id", "alias/nobody", dir)
	v.refused(codeNotFound, "init", "--key-id", "11111111-2222-3333-4444-555555555555", dir)
	v.refused(codeNotFound, "key", "disable", "alias/nobody")
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	v.kmsfs("init", dir)
}

func TestKeyOfAnotherStateDirectory(t *testing.T) {
	v, other := newVolume(t), newVolume(t)
	_, key := v.info()
	_, otherKey := other.info()
	v.refused(codeNotFound, "init", "--key-id", otherKey, filepath.Join(t.TempDir(), "back"))
	stdout, stderr, err := v.try("mount", "--state-dir", other.State, v.Back, v.Mnt)
	if err == nil {
		t.Fatalf("mounts with keys of another service: %s", stdout)
	}
	v.oneLineAndHints(stderr)
	wantText(t, stderr, key)
	v.refused(codeNotFound, "mount", "--state-dir", filepath.Join(t.TempDir(), "none"), v.Back, v.Mnt)
	v.mount()
	write(t, v.path("file"), "content")
	wantContent(t, v.path("file"), "content")
}

// editVolume changes one member of the volume file.
func editVolume(t *testing.T, text []byte, member string, value any) []byte {
	t.Helper()
	old, err := json.Marshal(volumeMember(t, text, member))
	must(t, err)
	with, err := json.Marshal(value)
	must(t, err)
	at := bytes.Index(text, []byte(`"`+member+`": `))
	edited := bytes.Replace(text[at:], old, with, 1)
	if bytes.Equal(edited, text[at:]) { // lists and objects are spread over lines
		var doc map[string]json.RawMessage
		must(t, json.Unmarshal(text, &doc))
		edited = bytes.Replace(text[at:], doc[member], with, 1)
	}
	if bytes.Equal(edited, text[at:]) {
		t.Fatalf("%s was not edited", member)
	}
	return append(bytes.Clone(text[:at]), edited...)
}

func volumeMember(t *testing.T, text []byte, member string) any {
	t.Helper()
	var doc map[string]any
	must(t, json.Unmarshal(text, &doc))
	value, ok := doc[member]
	if !ok {
		t.Fatalf("the volume file has no %s", member)
	}
	return value
}

func attackEditedVolumeFile(t *testing.T) {
	v := newVolume(t)
	path := filepath.Join(v.Back, "kmsfs.volume")
	text, err := os.ReadFile(path)
	must(t, err)
	other := newVolume(t)
	_, otherKey := other.info()
	otherText, err := os.ReadFile(filepath.Join(other.Back, "kmsfs.volume"))
	must(t, err)
	for _, c := range []struct {
		member string
		value  any
	}{
		{"format", 2}, {"suite", 2}, {"volume_id", other.id()}, {"created", "2020-01-01T00:00:00Z"},
		{"options", map[string]bool{"plaintext_names": true, "compress": false}}, {"keys", []string{otherKey}},
		{"wrapped_by", 1}, {"wrapped_key", volumeMember(t, otherText, "wrapped_key")},
		{"commitment", volumeMember(t, otherText, "commitment")}, {"mac", volumeMember(t, otherText, "mac")},
	} {
		v.wantVolumeFileRefused(c.member, path, editVolume(t, text, c.member, c.value))
	}
	v.wantVolumeFileRefused("plaintext_names alone", path, bytes.Replace(text, []byte(`"plaintext_names": false`), []byte(`"plaintext_names": true`), 1))
	v.wantVolumeFileRefused("compress alone", path, bytes.Replace(text, []byte(`"compress": false`), []byte(`"compress": true`), 1))
	v.wantVolumeFileRefused("other volume's file", path, otherText)
	v.wantVolumeFileRefused("empty", path, nil)
	v.wantVolumeFileRefused("cut off", path, text[:len(text)/2])
	v.wantVolumeFileRefused("garbage", path, bytes.Repeat([]byte{0xa5}, len(text)))
	must(t, os.WriteFile(path, text, 0o600))
	v.mount()
}

// wantVolumeFileRefused mounts with another volume file.
func (v *volume) wantVolumeFileRefused(what, path string, text []byte) {
	v.t.Helper()
	must(v.t, os.WriteFile(path, text, 0o600))
	_, stderr, err := v.try("mount", v.Back, v.Mnt)
	if err == nil {
		v.kmsfs("umount", v.Mnt)
		v.t.Errorf("%s: mounts", what)
		return
	}
	v.t.Logf("%s: %s", what, strings.TrimSpace(stderr))
	v.oneLineAndHints(stderr)
}

func TestDamagedHeaders(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("small"), strings.Repeat("small", 100))
	write(t, v.path("large"), strings.Repeat("large", 100_000))
	write(t, v.path("other"), "other")
	store := map[string]string{"small": v.storePath("small"), "large": v.storePath("large")}
	v.umount()
	for _, c := range []struct {
		what   string
		damage func([]byte) []byte
	}{
		{"truncated to nothing", func(b []byte) []byte { return nil }},
		{"truncated in the header", func(b []byte) []byte { return b[:1000] }},
		{"zeroed", func(b []byte) []byte { clear(b[:min(8192, len(b))]); return b }},
		{"garbage", func(b []byte) []byte {
			return append(bytes.Repeat([]byte{0x5a}, min(8192, len(b))), b[min(8192, len(b)):]...)
		}},
	} {
		for name, path := range store {
			kept, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, c.damage(bytes.Clone(kept)), 0o600))
			v.mount()
			err = openErr(v.path(name))
			if !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EKEYREJECTED) {
				t.Errorf("%s file, header %s: open gives %v", name, c.what, err)
			}
			if _, err := os.ReadDir(v.Mnt); err != nil {
				t.Errorf("%s file, header %s: %v", name, c.what, err)
			}
			wantContent(t, v.path("other"), "other")
			v.umount()
			must(t, os.WriteFile(path, kept, 0o600))
		}
	}
	v.mount()
	wantContent(t, v.path("small"), strings.Repeat("small", 100))
	wantContent(t, v.path("large"), strings.Repeat("large", 100_000))
}
