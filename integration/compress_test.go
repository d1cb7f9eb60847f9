package integration

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const compressAttr = "user.kmsfs.compress"

// text returns n bytes that compress well and differ from place to place.
func text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		b.WriteString(strings.Repeat("all work and no play ", 1+i%3) + string(rune('a'+i%26)) + "\n")
	}
	return b.Bytes()[:n]
}

// blocks returns the space that a file takes, in bytes, as du(1) counts it.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Blocks * 512
}

// treeBlocks returns the space that a tree takes.
func treeBlocks(t *testing.T, root string) (n int64) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			n += blocks(t, path)
		}
		return err
	}))
	return n
}

// shell runs a shell command with arguments.
func shell(t *testing.T, command string, args ...string) string {
	t.Helper()
	out, err := exec.Command("sh", append([]string{"-ec", command, "sh"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// someSource returns the Go source tree: a part of it, or all with -long.
func someSource(t *testing.T) string {
	t.Helper()
	if *long {
		return goSource(t)
	}
	return filepath.Join(goSource(t), "cmd", "compile", "internal", "ssa")
}

// The Go source tree (a part of it, or all with -long) in a compressed volume: smaller on the disk,
// the same when read, also after a remount, an overwrite and a truncate.
func TestSourceTreeInACompressedVolume(t *testing.T) {
	src := someSource(t)
	v := mountedVolume(t, "--compress")
	shell(t, `cp -a "$1" "$2"`, src, v.path("src"))
	shell(t, `diff -r "$1" "$2"`, src, v.path("src"))
	v.remount()
	shell(t, `diff -r "$1" "$2"`, src, v.path("src"))
	plain, stored := treeBlocks(t, src), treeBlocks(t, v.Back)
	if stored > plain*65/100 {
		t.Errorf("the store takes %d bytes for a tree of %d", stored, plain)
	}
	if shown := treeBlocks(t, v.path("src")); shown > stored {
		t.Errorf("du shows %d bytes, the store takes %d", shown, stored)
	}
	t.Logf("%d bytes of files take %d (%d %%)", plain, stored, 100*stored/plain)

	big := v.path("big")
	want := text(3 << 20)
	must(t, os.WriteFile(big, want, 0o644))
	f, err := os.OpenFile(big, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	for _, off := range []int64{10, 65_000, 1_000_003} {
		p := []byte("overwritten in part")
		_, err := f.WriteAt(p, off)
		must(t, err)
		copy(want[off:], p)
	}
	must(t, f.Truncate(2_500_001))
	must(t, f.Sync())
	v.wantFile(big, want[:2_500_001])
	must(t, f.Close())
	v.remount()
	v.wantFile(big, want[:2_500_001])
	if got := blocks(t, big); got > 1<<20 {
		t.Errorf("%d bytes of text take %d", len(want), got)
	}
}

// wantFile compares a file's content.
func (v *volume) wantFile(path string, want []byte) {
	v.t.Helper()
	got, err := os.ReadFile(path)
	must(v.t, err)
	if !bytes.Equal(got, want) {
		v.t.Errorf("%s: %d bytes, want %d, or they differ", path, len(got), len(want))
	}
}

func TestDatabaseInACompressedVolume(t *testing.T) {
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Skip("no sqlite3")
	}
	v := mountedVolume(t, "--compress")
	db := v.path("db")
	sql := func(script string) string { return strings.TrimSpace(shell(t, `sqlite3 "$1" "$2"`, db, script)) }
	sql(`PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000) INSERT INTO t SELECT i, 'row number ' || i FROM n;`)
	sql(`UPDATE t SET v = v || ' changed' WHERE id % 97 = 0; DELETE FROM t WHERE id % 101 = 0; VACUUM;
		UPDATE t SET v = 'x' WHERE id % 1009 = 0;`)
	v.remount()
	if got := sql(`PRAGMA integrity_check; SELECT count(*) FROM t; SELECT count(*) FROM t WHERE v LIKE '%changed';`); got != "ok\n19802\n204" {
		t.Errorf("%q", got)
	}
}

// setCompress sets the attribute.
func setCompress(t *testing.T, path, value string) {
	t.Helper()
	must(t, unix.Setxattr(path, compressAttr, []byte(value), 0))
}

// getCompress reads it; "" when there is none.
func getCompress(t *testing.T, path string) string {
	t.Helper()
	buf := make([]byte, 100)
	n, err := unix.Getxattr(path, compressAttr, buf)
	if err == unix.ENODATA {
		return ""
	}
	must(t, err)
	return string(buf[:n])
}

func TestCompressionIsInheritedFromTheNearestDirectory(t *testing.T) {
	for volumeDefault, flags := range map[string][]string{"none": nil, "zstd": {"--compress"}} {
		t.Run(volumeDefault, func(t *testing.T) {
			v := mountedVolume(t, flags...)
			other := map[string]string{"none": "zstd", "zstd": "none"}[volumeDefault]
			must(t, os.MkdirAll(v.path("a/b/c"), 0o755))
			must(t, os.WriteFile(v.path("a/b/before"), text(1<<20), 0o644))
			setCompress(t, v.path("a"), other)
			must(t, os.MkdirAll(v.path("a/new"), 0o755))
			setCompress(t, v.path("a/b/c"), volumeDefault)
			v.remount()
			for file, want := range map[string]string{
				"top": volumeDefault, "a/file": other, "a/b/file": other, "a/new/file": other, "a/b/c/file": volumeDefault, "a/b/before": volumeDefault,
			} {
				if file != "a/b/before" {
					must(t, os.WriteFile(v.path(file), text(1<<20), 0o644))
				}
				if got := getCompress(t, v.path(file)); got != want {
					t.Errorf("%s: %q, want %q", file, got, want)
				}
				if small := blocks(t, v.path(file)) < 1<<19; small != (want == "zstd") {
					t.Errorf("%s takes %d bytes", file, blocks(t, v.path(file)))
				}
			}
			must(t, unix.Removexattr(v.path("a"), compressAttr))
			must(t, os.WriteFile(v.path("a/after"), nil, 0o644))
			if got := getCompress(t, v.path("a/after")); got != volumeDefault || getCompress(t, v.path("a")) != "" {
				t.Errorf("after the attribute was removed: %q", got)
			}
		})
	}
}

func TestCompressionOfAFileHoldsForLaterWrites(t *testing.T) {
	v := mountedVolume(t)
	path := v.path("file")
	must(t, os.WriteFile(path, nil, 0o644))
	setCompress(t, path, "zstd")
	must(t, os.WriteFile(path, text(1<<20), 0o644))
	v.remount()
	if getCompress(t, path) != "zstd" || blocks(t, path) > 1<<19 {
		t.Errorf("%s, %d bytes", getCompress(t, path), blocks(t, path))
	}
	must(t, unix.Removexattr(path, compressAttr))
	if getCompress(t, path) != "none" {
		t.Error("the file did not go back to the directory's setting")
	}
	must(t, os.WriteFile(path, text(1<<20), 0o644))
	v.remount()
	if blocks(t, path) < 1<<20 {
		t.Errorf("still compressed: %d bytes", blocks(t, path))
	}
	buf := make([]byte, 100)
	n, err := unix.Listxattr(path, buf)
	must(t, err)
	if n != 0 {
		t.Errorf("attributes %q", buf[:n]) // or every copy would carry it
	}
	wantErrno(t, "an unknown value", unix.Setxattr(path, compressAttr, []byte("lzma"), 0), unix.EINVAL)
	wantErrno(t, "creating it", unix.Setxattr(path, compressAttr, []byte("zstd"), unix.XATTR_CREATE), unix.EEXIST)
	wantErrno(t, "an unknown value of a directory", unix.Setxattr(v.Mnt, compressAttr, []byte(""), 0), unix.EINVAL)
}

func TestChattrShowsAndChangesCompression(t *testing.T) {
	v := mountedVolume(t)
	must(t, os.Mkdir(v.path("dir"), 0o755))
	must(t, os.WriteFile(v.path("file"), nil, 0o644))
	flags := func(name string) string { return strings.Fields(shell(t, `lsattr -d "$1"`, v.path(name)))[0] }
	for _, name := range []string{"dir", "file"} {
		if strings.Contains(flags(name), "c") {
			t.Errorf("%s: %s", name, flags(name))
		}
		shell(t, `chattr +c "$1"`, v.path(name))
		if !strings.Contains(flags(name), "c") || getCompress(t, v.path(name)) != "zstd" {
			t.Errorf("%s: %s", name, flags(name))
		}
	}
	must(t, os.WriteFile(v.path("dir/below"), text(1<<20), 0o644))
	v.remount()
	if !strings.Contains(flags("dir/below"), "c") || blocks(t, v.path("dir/below")) > 1<<19 {
		t.Errorf("below: %s", flags("dir/below"))
	}
	shell(t, `chattr -c "$1" "$2"`, v.path("dir"), v.path("file"))
	if getCompress(t, v.path("dir")) != "none" || getCompress(t, v.path("file")) != "none" {
		t.Error("not switched off")
	}
	if out, err := exec.Command("chattr", "+i", v.path("file")).CombinedOutput(); err == nil {
		t.Errorf("an unknown flag was taken: %s", out)
	}
}

// The header says it without a key, the volume's settings too.
func TestInfoTellsCompression(t *testing.T) {
	v := mountedVolume(t, "--compress", "--plaintext-names")
	must(t, os.WriteFile(v.path("yes"), text(100), 0o644))
	must(t, os.WriteFile(v.path("no"), text(100), 0o644))
	setCompress(t, v.path("no"), "none")
	v.umount()
	for name, want := range map[string]bool{"yes": true, "no": false} {
		var info struct{ Compressed bool }
		must(t, json.Unmarshal([]byte(v.kmsfs("info", "--json", filepath.Join(v.Back, name))), &info))
		if info.Compressed != want {
			t.Errorf("%s: %v", name, info.Compressed)
		}
	}
}
