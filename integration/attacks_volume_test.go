package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// attackCopiedDirectory copies a directory, and its identity, to other names.
func attackCopiedDirectory(t *testing.T) {
	v, store := movedVolume(t, "--plaintext-names")
	sh(t, v.Back, "cp -a x copy; mkdir poisoned; cp -P x/kmsfs.dir poisoned/; cp -a y/f poisoned/f")
	v.mount()
	for _, dir := range []string{"copy", "poisoned"} {
		_, err := os.ReadDir(v.path(dir))
		wantErrno(t, "list "+dir, err, unix.EKEYREJECTED)
		wantErrno(t, "open in "+dir, openErr(v.path(dir, "f")), unix.EKEYREJECTED)
		wantErrno(t, "create in "+dir, os.WriteFile(v.path(dir, "new"), []byte(mark), 0o644), unix.EKEYREJECTED)
	}
	v.wantAllAsWritten()
	v.umount()
	must(t, os.RemoveAll(filepath.Join(store["x"], "..", "copy")))
}

// attackMovedIntoReadable moves a directory into one whose plaintext the attacker may read.
func attackMovedIntoReadable(t *testing.T) {
	for name, flags := range namesModes {
		t.Run(name, func(t *testing.T) {
			v, store := movedVolume(t, flags...)
			to := filepath.Join(store["y"], filepath.Base(store["x"]))
			must(t, os.Rename(store["x"], to))
			v.mount()
			_, err := os.ReadDir(v.path("y"))
			must(t, err)
			if err := openErr(v.path("y", "x", "f")); err == nil {
				t.Error("opens where it was moved to")
			}
			v.umount()
			must(t, os.Rename(to, store["x"]))
			v.mount()
			v.wantAllAsWritten()
		})
	}
}

// attackForeignSlots puts one file's newer key slots at another.
func attackForeignSlots(t *testing.T) {
	v := withoutLedger(t)
	write(t, v.path("a"), "content of a")
	write(t, v.path("b"), "content of b")
	must(t, os.Rename(v.path("a"), v.path("a2"))) // stages slots in the attribute
	a, b := v.storeFile("a2"), v.storeFile("b")
	slots := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(a, "user.kmsfs.slots", slots)
	must(t, err)
	must(t, unix.Lsetxattr(b, "user.kmsfs.slots", slots[:n], 0))
	must(t, unix.Lsetxattr(a, "user.kmsfs.slots", bytes.Repeat([]byte{0xff}, 1000), 0))
	v.remount()
	wantContent(t, v.path("b"), "content of b")
	if err := openErr(v.path("a2")); err == nil {
		wantContent(t, v.path("a2"), "content of a") // folded into the header before
	} else {
		wantErrno(t, "open without the newest slots", err, unix.EKEYREJECTED)
	}
}

// attackAttributes exchanges encrypted attributes: between files, and between names of one.
func attackAttributes(t *testing.T) {
	v := withoutLedger(t)
	for _, f := range []string{"a", "b"} {
		write(t, v.path(f), "content")
		must(t, unix.Setxattr(v.path(f), "user.one", []byte("one of "+f), 0))
		must(t, unix.Setxattr(v.path(f), "user.two", []byte("two of "+f), 0))
	}
	a, b := v.storeFile("a"), v.storeFile("b")
	v.umount()
	values := map[string]map[string][]byte{a: storedAttributes(t, a), b: storedAttributes(t, b)}
	if len(values[a]) != 2 {
		t.Fatalf("%d attributes in the store", len(values[a]))
	}
	for name, value := range values[a] {
		must(t, unix.Lsetxattr(b, name, value, 0))
	}
	var names []string
	for name := range values[a] {
		names = append(names, name)
	}
	must(t, unix.Lsetxattr(a, names[0], values[a][names[1]], 0))
	v.mount()
	buf := make([]byte, 100)
	for _, c := range []struct{ file, attr string }{{"b", "user.one"}, {"b", "user.two"}} {
		n, err := unix.Getxattr(v.path(c.file), c.attr, buf)
		if err == nil {
			t.Errorf("%s of %s is %q", c.attr, c.file, buf[:n])
			continue
		}
		wantErrno(t, c.attr+" of "+c.file, err, unix.EIO)
	}
	wrong := 0
	for _, attr := range []string{"user.one", "user.two"} {
		n, err := unix.Getxattr(v.path("a"), attr, buf)
		if err == nil && string(buf[:n]) != attr[5:]+" of a" {
			t.Errorf("%s of a is %q", attr, buf[:n])
		}
		if err != nil {
			wantErrno(t, attr, err, unix.EIO)
			wrong++
		}
	}
	if wrong != 1 {
		t.Errorf("%d attributes of a do not authenticate, want one", wrong)
	}
}

// storedAttributes returns the encrypted attributes of an object of the store.
func storedAttributes(t *testing.T, path string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	storeXattrs(t, path, path, func(what string, data []byte) {
		if name, ok := strings.CutPrefix(what, "attribute user.kmsfs.x."); ok {
			name, _, _ = strings.Cut(name, " of ")
			out["user.kmsfs.x."+name] = bytes.Clone(data)
		}
	})
	return out
}

// attackRenameLog edits, cuts, splices and rolls back the rename log.
func attackRenameLog(t *testing.T) {
	v := withoutLedger(t)
	must(t, os.MkdirAll(v.path("d"), 0o755))
	write(t, v.path("d/old"), "wrapped before")
	path := filepath.Join(v.Back, "kmsfs.renames")
	var logs [][]byte
	for i := range 4 {
		must(t, os.Rename(v.path([]string{"d", "e"}[i%2]), v.path([]string{"e", "d"}[i%2])))
		write(t, v.path([]string{"e", "d"}[i%2], fmt.Sprint("new", i)), fmt.Sprint("wrapped at ", i+1))
		b, err := os.ReadFile(path)
		must(t, err)
		logs = append(logs, b)
	}
	v.umount()
	whole := logs[3]
	frame := len(logs[0])
	edit := func(i int) []byte { b := bytes.Clone(whole); b[i] ^= 1; return b }
	for name, b := range map[string][]byte{
		"flipped": edit(frame + 30), "sequence": edit(8), "length": edit(4),
		"without the first": whole[frame:], "without the second": append(bytes.Clone(whole[:frame]), whole[2*frame:]...),
		"swapped":  append(append(bytes.Clone(whole[frame:2*frame]), whole[:frame]...), whole[2*frame:]...),
		"repeated": append(bytes.Clone(whole[:frame]), whole...),
		"huge":     append(bytes.Clone(whole), bytes.Repeat([]byte("KSRL\xff\xff\xff\xff"), 20000)...),
	} {
		must(t, os.WriteFile(path, b, 0o600))
		if _, stderr, err := v.try("mount", "-o", "noledger", v.Back, v.Mnt); err == nil {
			v.mounted = true
			v.umount()
			t.Errorf("%s: mounts", name)
		} else {
			v.oneLineAndHints(stderr)
		}
	}
	for i, b := range append([][]byte{nil}, logs[:3]...) {
		must(t, os.WriteFile(path, b, 0o600))
		v.mount()
		wantRejected(t, v.path("d", "new3"))
		if i%2 == 1 { // the log says e: every older key, too, was wrapped for another path
			wantRejected(t, v.path("d", "old"))
		}
		v.umount()
	}
	must(t, os.WriteFile(path, whole, 0o600))
	v.mount()
	wantContent(t, v.path("d/old"), "wrapped before")
	wantContent(t, v.path("d/new0"), "wrapped at 1")
	wantContent(t, v.path("d/new3"), "wrapped at 4")
}

// attackModes changes modes and owners in the store: they are the store's, and an accepted risk.
func attackModes(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("f"), "content")
	v.umount()
	v.mount()
	must(t, unix.Chmod(v.storeFile("f"), 0o4777))
	v.remount()
	st, err := os.Stat(v.path("f"))
	must(t, err)
	if st.Mode()&os.ModeSetuid == 0 || st.Mode().Perm() != 0o777 {
		t.Errorf("mode %v: this is not an accepted risk any more, change docs/threat-model.md", st.Mode())
	}
	wantContent(t, v.path("f"), "content")
	var fs unix.Statfs_t
	must(t, unix.Statfs(v.Mnt, &fs))
	if fs.Flags&unix.ST_NOSUID == 0 || fs.Flags&unix.ST_NODEV == 0 {
		t.Error("the mount honours setuid or devices unless it is told to")
	}
}

// attackOracle reads differently damaged files: they look the same to the reader, and nothing is tried
// with another key.
func attackOracle(t *testing.T) {
	v := withoutLedger(t)
	damage := map[string]func(b []byte){
		"bit": func(b []byte) { b[2*pageSize] ^= 1 }, "page": func(b []byte) { clear(b[2*pageSize : 3*pageSize]) },
		"end": func(b []byte) { b[len(b)-1] ^= 1 }, "swapped": func(b []byte) { swapPages(b[2*pageSize:], b[3*pageSize:]) },
	}
	for name := range damage {
		write(t, v.path(name), strings.Repeat(mark, 10_000))
	}
	v.waitNoKeys()
	for name, f := range damage {
		path := v.storeFile(name)
		b, err := os.ReadFile(path)
		must(t, err)
		f(b)
		must(t, os.WriteFile(path, b, 0o644))
	}
	v.remount()
	before := len(v.audit("--event", "Decrypt"))
	for name := range damage {
		f, err := os.Open(v.path(name))
		must(t, err)
		_, err = f.Read(make([]byte, 200_000))
		for off := int64(0); err == nil && off < 120_000; off += pageSize {
			_, err = f.ReadAt(make([]byte, pageSize), off)
		}
		wantErrno(t, "read of "+name, err, unix.EIO)
		f.Close()
	}
	if calls := len(v.audit("--event", "Decrypt")) - before; calls != len(damage) {
		t.Errorf("%d calls of Decrypt for %d opens", calls, len(damage))
	}
}

// attackNonces rolls a file back and writes what was written before: nothing of the ciphertext is the
// same, so no nonce was used again.
func attackNonces(t *testing.T) {
	v := withoutLedger(t)
	content := strings.Repeat(mark, 3000)
	write(t, v.path("f"), "first")
	v.remount()
	path := v.storeFile("f")
	first, err := os.ReadFile(path)
	must(t, err)
	var seen [][]byte
	for range 3 {
		v.umount()
		must(t, os.WriteFile(path, first, 0o644))
		v.mount()
		write(t, v.path("f"), content)
		v.remount()
		wantContent(t, v.path("f"), content)
		b, err := os.ReadFile(path)
		must(t, err)
		for off := 0; off+64 <= len(b); off += pageSize {
			for _, old := range seen {
				page := b[off:min(off+pageSize, len(b))]
				if off >= 2*pageSize && !bytes.Equal(page, make([]byte, len(page))) && bytes.Contains(old, page[:64]) {
					t.Fatalf("the page at %d is the same as before", off)
				}
			}
		}
		seen = append(seen, b)
	}
}

// attackBombs puts things into the store that are huge, deep or many.
func attackBombs(t *testing.T) {
	v := withoutLedger(t, "--plaintext-names")
	write(t, v.path("f"), "content")
	must(t, os.Mkdir(v.path("d"), 0o755))
	v.umount()
	for name, size := range map[string]int64{"kmsfs.volume": 1 << 40, "kmsfs.renames": 1 << 40, "kmsfs.mounts": 1 << 40} {
		path := filepath.Join(v.Back, name)
		kept, err := os.ReadFile(path)
		must(t, os.Truncate(func() string { must(t, os.WriteFile(path, kept, 0o600)); return path }(), size))
		if _, _, mountErr := v.try("mount", "-o", "noledger", v.Back, v.Mnt); mountErr == nil {
			v.mounted = true
			v.umount()
			t.Errorf("%s of a terabyte: mounts", name)
		}
		if err != nil {
			must(t, os.Remove(path))
		} else {
			must(t, os.WriteFile(path, kept, 0o600))
		}
	}
	deep := filepath.Join(v.Back, "d")
	for range 300 {
		deep = filepath.Join(deep, "deepdeep")
		if os.Mkdir(deep, 0o755) != nil {
			break
		}
	}
	must(t, os.Symlink(strings.Repeat("A", 4000), filepath.Join(v.Back, "d", "deepdeep", "kmsfs.dir")))
	must(t, os.Symlink(strings.Repeat("A", 4000), filepath.Join(v.Back, "link")))
	v.mount()
	if out := sh(t, "/", "find "+v.Mnt+" 2>/dev/null | wc -l || true"); strings.TrimSpace(out) == "0" {
		t.Error("nothing is listed")
	}
	wantErrno(t, "open deep", openErr(v.path("d", "deepdeep", "deepdeep")), unix.EIO) // its identity is not even one
	_, err := os.Readlink(v.path("link"))
	wantErrno(t, "readlink", err, unix.EKEYREJECTED)
	wantContent(t, v.path("f"), "content")
}
