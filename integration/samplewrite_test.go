package integration

import (
	"bytes"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sampleVolumes are the volumes of the sample with their flags of init. The first has the public part
// of recoveryKey as recovery recipient too.
var sampleVolumes = map[string][]string{
	recoverableSample: {"--compress"},
	"plaintext-names": {"--plaintext-names"},
}

const (
	recoverableSample = "encrypted-names"
	recoveryKey       = "recovery.pem" // RSA private key, in the archive
)

// newRecoveryKey writes an RSA key pair and returns the name of its public part.
func newRecoveryKey(t *testing.T, dir string) string {
	t.Helper()
	key, err := rsa.GenerateKey(crand.Reader, 2048)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	must(t, err)
	name := filepath.Join(t.TempDir(), "public.pem")
	must(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600))
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, recoveryKey), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return name
}

// writeSample makes the sample volumes and their manifest with the present build.
func writeSample(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	manifest := map[string]map[string]sampleEntry{}
	public := newRecoveryKey(t, filepath.Join(dir, "sample"))
	for name, flags := range sampleVolumes {
		if name == recoverableSample {
			flags = append([]string{"--recovery-key", public}, flags...)
		}
		v := &volume{t: t, State: filepath.Join(dir, "sample", "state"), Back: filepath.Join(dir, "sample", name), Mnt: filepath.Join(dir, "mnt-"+name)}
		must(t, os.MkdirAll(v.Mnt, 0o755))
		v.kmsfs(append(append([]string{"init"}, flags...), v.Back)...)
		v.mount()
		v.fillSample()
		v.umount()
		_, key := v.info()
		v.kmsfs("key", "rotate", key)
		v.mount()
		v.changeSample()
		v.setSampleTimes()
		v.umount()
		v.mount("-o", "ro")
		manifest[name] = describeTree(t, v.Mnt)
		v.umount()
	}
	must(t, os.RemoveAll(filepath.Join(dir, "sample", "state", "log")))
	must(t, os.MkdirAll(filepath.Dir(sampleArchive), 0o755))
	packTree(t, filepath.Join(dir, "sample"), sampleArchive)
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetIndent("", "  ")
	must(t, enc.Encode(manifest))
	must(t, os.WriteFile(sampleManifest, doc.Bytes(), 0o644))
}

// fillSample writes a file of every kind.
func (v *volume) fillSample() {
	v.t.Helper()
	t := v.t
	long := strings.Repeat("a long name ", 21)[:250]
	for _, dir := range []string{"directory", "to rename", "swap a", "swap b", "empty directory"} {
		must(t, os.MkdirAll(v.path(dir), 0o755))
	}
	must(t, os.Mkdir(v.path(long+".d"), 0o711))
	for name, content := range map[string]string{
		"empty": "", "inline": "content in the root page\n", "inline-largest": strings.Repeat("x", 2560),
		"tree.txt": numberedLines(40_000), "noise": noise(6_000), "directory/below": "below a directory\n",
		"link one": "two names, one file\n", "to rename/below": "below a renamed directory\n",
		"swap a/a": "a\n", "swap b/b": "b\n", "file to rename": "renamed\n", long: "under a long name\n",
		long + ".d/" + long: "under two long names\n", "kmsfs.volume of the user's": "a reserved prefix\n",
		"Größe\n\tünï¢ödé \x01": "an odd name\n", "executable": "#!/bin/sh\n", "read-only": "read only\n",
	} {
		write(t, v.path(name), content)
	}
	must(t, os.Link(v.path("link one"), v.path("directory", "link two")))
	must(t, os.Symlink("directory/below", v.path("symlink")))
	must(t, os.Symlink(strings.Repeat("../", 500)+"nowhere", v.path("long symlink")))
	must(t, unix.Mkfifo(v.path("fifo"), 0o640))
	must(t, os.Chmod(v.path("executable"), 0o4755))
	must(t, os.Chmod(v.path("read-only"), 0o400))
	must(t, unix.Setxattr(v.path("inline"), "user.text", []byte("value of an attribute"), 0))
	must(t, unix.Setxattr(v.path("inline"), "user.empty", nil, 0))
	must(t, unix.Setxattr(v.path("directory"), "user.on-directory", []byte{0xff, 0, 10}, 0))
	v.sparseSample()
}

// sparseSample writes a file of 64 MiB with three pages of data and a punched hole.
func (v *volume) sparseSample() {
	v.t.Helper()
	f, err := os.Create(v.path("sparse"))
	must(v.t, err)
	defer f.Close()
	must(v.t, f.Truncate(64<<20))
	for _, at := range []int64{0, 5 << 20, 64<<20 - 100} {
		_, err := f.WriteAt([]byte("data between holes"), at)
		must(v.t, err)
	}
	must(v.t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 5<<20, 4096))
	must(v.t, f.Sync())
}

// changeSample leaves a rename log, new slots, and pages of a later commit.
func (v *volume) changeSample() {
	v.t.Helper()
	t := v.t
	must(t, os.Rename(v.path("to rename"), v.path("renamed")))
	must(t, os.Rename(v.path("renamed"), v.path("directory", "renamed")))
	must(t, os.Rename(v.path("directory", "renamed"), v.path("renamed")))
	must(t, unix.Renameat2(unix.AT_FDCWD, v.path("swap a"), unix.AT_FDCWD, v.path("swap b"), unix.RENAME_EXCHANGE))
	must(t, os.Rename(v.path("file to rename"), v.path("directory", "renamed file")))
	write(t, v.path("renamed", "later"), "made after the rename, under the rotated key\n")
	f, err := os.OpenFile(v.path("tree.txt"), os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("overwritten"), 20_000)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Truncate(38_000))
	must(t, f.Close())
}

// setSampleTimes gives everything a time of its own, directories after what is in them.
func (v *volume) setSampleTimes() {
	v.t.Helper()
	paths := []string{}
	for path := range describeTree(v.t, v.Mnt) {
		paths = append(paths, path)
	}
	for i, path := range paths {
		at := unix.Timespec{Sec: 1_600_000_000 + int64(i), Nsec: 123_456_789}
		must(v.t, unix.UtimesNanoAt(unix.AT_FDCWD, v.Mnt+path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// numberedLines is text that compresses well.
func numberedLines(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a text that is long enough for a tree of pages\n", i)
	}
	return b.String()[:n]
}

// noise does not compress at all.
func noise(n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{'s', 'a', 'm', 'p', 'l', 'e'})
	_, _ = r.Read(b) // never fails
	return string(b)
}
