package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mark is in every plaintext of these tests: content, names, targets, attributes.
const mark = "Rosebud-4711"

// storeStrings calls f with everything that a thief of the backing directory has: paths, contents,
// targets of symlinks, names and values of extended attributes.
func (v *volume) storeStrings(f func(what string, data []byte)) {
	v.t.Helper()
	must(v.t, filepath.WalkDir(v.Back, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(v.Back, path)
		must(v.t, err)
		f("path "+rel, []byte(rel))
		switch d.Type() {
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			must(v.t, err)
			f("target of "+rel, []byte(target))
		case 0:
			b, err := os.ReadFile(path)
			must(v.t, err)
			f("content of "+rel, b)
		}
		storeXattrs(v.t, path, rel, f)
		return nil
	}))
}

func storeXattrs(t *testing.T, path, rel string, f func(what string, data []byte)) {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	must(t, err)
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		must(t, err)
		f("name of an attribute of "+rel, []byte(name))
		f("attribute "+name+" of "+rel, value[:n])
	}
}

// spellings are the forms in which a secret would be recognised.
func spellings(secret []byte) [][]byte {
	return [][]byte{secret, []byte(hex.EncodeToString(secret)), []byte(base64.StdEncoding.EncodeToString(secret)),
		[]byte(base64.RawURLEncoding.EncodeToString(secret))}
}

// wantNowhereInStore fails the test for each place of the store that shows a secret.
func (v *volume) wantNowhereInStore(secrets map[string][]byte) {
	v.t.Helper()
	places := 0
	v.storeStrings(func(what string, data []byte) {
		places++
		for name, secret := range secrets {
			for _, s := range spellings(secret) {
				if bytes.Contains(data, s) {
					v.t.Errorf("%s shows %s", what, name)
				}
			}
		}
	})
	if places < 20 {
		v.t.Fatalf("only %d places searched", places)
	}
}

// writeMarked fills the mount with the mark in everything that an application can name or write.
func (v *volume) writeMarked() []string {
	v.t.Helper()
	dir := mark + "-dir"
	must(v.t, os.MkdirAll(v.path(dir, mark+"-sub"), 0o755))
	files := map[string]string{
		"small-" + mark:                      mark,
		dir + "/medium":                      strings.Repeat(mark+"\n", 1000),
		dir + "/" + mark + "-sub/large":      strings.Repeat("0123456789"+mark, 100_000),
		"long-" + strings.Repeat(mark, 20):   mark,
		dir + "/" + strings.Repeat("ä", 120): mark,
	}
	var paths []string
	for name, content := range files {
		write(v.t, v.path(name), content)
		paths = append(paths, name)
	}
	must(v.t, os.Symlink("/etc/"+mark, v.path("link")))
	for i := range 3 {
		attr := fmt.Sprintf("user.%s-%d", mark, i)
		must(v.t, unix.Setxattr(v.path("small-"+mark), attr, []byte(mark), 0))
		must(v.t, unix.Setxattr(v.path(dir), attr, []byte(strings.Repeat(mark, 50)), 0))
	}
	return paths
}

func TestStoreShowsNoPlaintextNamesOrKeys(t *testing.T) {
	v := mountedVolume(t)
	paths := v.writeMarked()
	v.waitNoKeys()
	must(t, os.Rename(v.path("link"), v.path("link-"+mark)))
	must(t, os.Rename(v.path(mark+"-dir", "medium"), v.path(mark+"-medium"))) // leaves staged key slots
	must(t, os.WriteFile(v.path("gone-"+mark), []byte(strings.Repeat(mark, 5000)), 0o644))
	must(t, os.Remove(v.path("gone-"+mark)))
	secrets := map[string][]byte{"plaintext": []byte(mark)}
	v.wantNowhereInStore(secrets)
	v.umount()
	v.mount()
	for i, p := range paths {
		if strings.HasSuffix(p, "/medium") {
			paths[i] = mark + "-medium"
		}
	}
	for p, key := range v.dataKeys(paths...) {
		secrets["the data key of "+p] = key
	}
	secrets["the volume key"] = v.volumeKey()
	v.wantNowhereInStore(secrets)
}

// What --plaintext-names shows is names, and nothing else.
func TestPlaintextNamesShowNamesOnly(t *testing.T) {
	v := mountedVolume(t, "--plaintext-names")
	const content = "Xanadu-0815"
	must(t, os.Mkdir(v.path(mark), 0o755))
	write(t, v.path(mark, "file"), strings.Repeat(content, 1000))
	must(t, os.Symlink(content, v.path("link")))
	must(t, unix.Setxattr(v.path(mark, "file"), "user."+content, []byte(content), 0))
	v.umount()
	shown := false
	v.storeStrings(func(what string, data []byte) {
		shown = shown || string(data) == filepath.Join(mark, "file")
		if bytes.Contains(data, []byte(content)) {
			t.Errorf("%s shows plaintext", what)
		}
	})
	if !shown {
		t.Error("the name is not shown")
	}
}

// The key service's directory holds keys under the HSM's protection only, and the audit trail has
// paths but no keys.
func TestStateDirectoryShowsNoDataKeys(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("file"), mark)
	must(t, openErr(v.path("file")))
	v.umount()
	v.mount()
	secrets := map[string][]byte{"data key": v.dataKeys("file")["file"], "volume key": v.volumeKey(), "content": []byte(mark)}
	must(t, filepath.WalkDir(v.State, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		must(t, err)
		for name, secret := range secrets {
			for _, s := range spellings(secret) {
				if bytes.Contains(b, s) {
					t.Errorf("%s shows the %s", path, name)
				}
			}
		}
		return nil
	}))
}
