package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// goSource is a real tree of over 10,000 files.
func goSource(t *testing.T) string {
	t.Helper()
	return filepath.Join(strings.TrimSpace(sh(t, ".", "go env GOROOT")), "src")
}

func TestGoSourceTreeSurvivesCopyRemountAndRemoval(t *testing.T) {
	v := mountedVolume(t)
	sh(t, v.Mnt, fmt.Sprintf("cp -a %[1]s tree && diff -r %[1]s tree", goSource(t)))
	v.remount()
	sh(t, v.Mnt, fmt.Sprintf("diff -r %s tree", goSource(t)))
	v.waitNoKeys()
	sh(t, v.Mnt, "rm -rf tree && test -z \"$(ls -A)\"")
}

func TestGitWorksInside(t *testing.T) {
	v := mountedVolume(t)
	const git = "git -c user.name=tester -c user.email=tester@example.com"
	sh(t, v.Mnt, "mkdir repo && cd repo && cp -a "+filepath.Join(goSource(t), "net")+" . && git init -q && git add -A && "+
		git+" commit -qm one && git fsck --strict && test -z \"$(git status --porcelain)\"")
	v.remount()
	sh(t, v.Mnt, "cd repo && git fsck --strict && "+git+" mv net net2 && "+git+" commit -qam two && git gc -q && git fsck --strict && test -z \"$(git status --porcelain)\"")
}

func TestGoBuildWorksInside(t *testing.T) {
	v := mountedVolume(t)
	sh(t, v.Mnt, `mkdir prog cache && cd prog
export GOCACHE=$PWD/../cache GOFLAGS=-mod=mod GOTOOLCHAIN=local
printf 'module example.com/p\n\ngo 1.21\n' >go.mod
printf 'package main\n\nimport (\n\t"fmt"\n\t"strings"\n)\n\nfunc main() { fmt.Println(strings.ToUpper("ok")) }\n' >main.go
go build -o p . && test "$(./p)" = OK && go vet ./...`)
}

func TestSQLiteIsConsistentWithTwoWriters(t *testing.T) {
	v := mountedVolume(t)
	for _, mode := range []string{"DELETE", "WAL"} {
		script := fmt.Sprintf(`import sqlite3
c = sqlite3.connect("t-%[1]s.db", timeout=60, isolation_level=None)
c.execute("pragma journal_mode=%[1]s")
c.execute("create table if not exists t(a integer primary key, b text)")
for i in range(150):
    c.execute("insert into t(b) values(?)", ("x" * 300,))
`, mode)
		write(t, v.path("w.py"), script)
		sh(t, v.Mnt, "python3 w.py & a=$!; python3 w.py & b=$!; wait $a; wait $b")
		got := sh(t, v.Mnt, fmt.Sprintf(`python3 -c 'import sqlite3
c = sqlite3.connect("t-%s.db")
print(c.execute("pragma integrity_check").fetchone()[0], c.execute("select count(*) from t").fetchone()[0])'`, mode))
		if got != "ok 300\n" {
			t.Fatalf("journal mode %s: %q", mode, got)
		}
	}
}

func TestDirectoryOfManyEntries(t *testing.T) {
	v := mountedVolume(t)
	n := 2000
	if *long {
		n = 20000
	}
	sh(t, v.Mnt, fmt.Sprintf(`mkdir d && cd d && for i in $(seq %d); do echo $i > "file with a longer name $i"; done`, n))
	v.remount()
	sh(t, v.Mnt, fmt.Sprintf(`cd d && test $(ls | wc -l) = %d && test "$(cat "file with a longer name 1717")" = 1717 && rm -f -- * && cd .. && rmdir d`, n))
}

func TestBigFileReadsBackEqual(t *testing.T) {
	size := int64(96 << 20)
	if *long {
		size = 3 << 30
	}
	v := mountedVolume(t)
	want := writeRandom(t, v.path("big"), size)
	if got := digest(t, v.path("big")); got != want {
		t.Fatal("content differs while mounted")
	}
	v.remount()
	if got := digest(t, v.path("big")); got != want {
		t.Fatal("content differs after remount")
	}
}

// writeRandom writes size pseudorandom bytes and returns their digest.
func writeRandom(t *testing.T, path string, size int64) string {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	h := sha256.New()
	_, err = io.CopyBuffer(io.MultiWriter(f, h), io.LimitReader(rand.NewChaCha8([32]byte{1}), size), make([]byte, 1<<20))
	must(t, err)
	must(t, f.Close())
	return hex.EncodeToString(h.Sum(nil))
}

func digest(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.CopyBuffer(h, f, make([]byte, 1<<20))
	must(t, err)
	return hex.EncodeToString(h.Sum(nil))
}
