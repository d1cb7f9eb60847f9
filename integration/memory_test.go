package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// These tests look for data keys in the daemon's memory, as root can: in every mapping that can be
// read, the C heap of the PKCS#11 module included. Since an AES-256 key schedule begins with the key,
// a schedule made of a data key would be found too.
//
// Not covered: registers and kernel memory (the page cache with plaintext among it), swap, pages that
// the process has given back, and keys that are derived from a data key, whose values only the package
// envelope knows; it searches for them in a test of its own. Go may copy a value when it grows a stack,
// and does not say so: finding nothing is evidence, not proof.

// searchMemory counts the places in a process's memory that hold each of the secrets.
func searchMemory(t *testing.T, pid int, secrets map[string][]byte) map[string][]string {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	must(t, err)
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	must(t, err)
	defer mem.Close()
	found, searched := map[string][]string{}, int64(0)
	for line := range strings.Lines(string(maps)) {
		var from, to uint64 // the last page of the address space is listed too
		var perms string
		_, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perms)
		must(t, err)
		if perms[0] != 'r' || strings.Contains(line, "[vvar") || strings.Contains(line, "[vsyscall]") {
			continue
		}
		searched += searchMapping(mem, int64(from), int64(to), func(at int64, chunk []byte) {
			for name, s := range secrets {
				if i := bytes.Index(chunk, s); i >= 0 {
					found[name] = append(found[name], fmt.Sprintf("%x in %s", at+int64(i), strings.TrimSpace(line)))
				}
			}
		})
	}
	if searched < 8<<20 {
		t.Fatalf("only %d bytes of memory could be read", searched)
	}
	return found
}

// searchMapping reads one mapping in chunks that overlap by more than a key.
func searchMapping(mem io.ReaderAt, from, to int64, f func(at int64, chunk []byte)) (searched int64) {
	const size, overlap = 4 << 20, 64
	buf := make([]byte, size)
	for at := from; at < to; at += size - overlap {
		n, err := mem.ReadAt(buf[:min(size, to-at)], at)
		if n == 0 && err != nil && !errors.Is(err, io.EOF) {
			return searched // not populated, as beyond the end of a mapped file
		}
		f(at, buf[:n])
		searched += int64(n)
	}
	return searched
}

// keepReading opens, reads and closes files, so that buffers of the daemon are used again.
func keepReading(t *testing.T, v *volume, files int) {
	t.Helper()
	for i := range files {
		name := v.path(fmt.Sprintf("other-%d", i))
		write(t, name, strings.Repeat("other content", 100))
		_, err := os.ReadFile(name)
		must(t, err)
	}
}

func TestNoDataKeyIsInMemoryAfterTheLastClose(t *testing.T) {
	v := mountedVolume(t)
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprintf("file-%d", i))
		write(t, v.path(names[i]), strings.Repeat("content", 1+i*3000))
	}
	v.waitNoKeys()
	keys := v.dataKeys(names...)
	pid := v.daemonPID()
	var open []*os.File
	for _, n := range names { // every way of use
		f, err := os.OpenFile(v.path(n), os.O_RDWR|os.O_APPEND, 0)
		must(t, err)
		open = append(open, f)
		_, err = io.Copy(io.Discard, f)
		must(t, err)
		_, err = f.WriteString("more")
		must(t, err)
	}
	must(t, open[0].Sync())
	must(t, os.Rename(v.path(names[1]), v.path("renamed")))
	t.Logf("while open: %d of %d data keys are in memory as such", len(searchMemory(t, pid, keys)), len(keys))
	for _, f := range open {
		must(t, f.Close())
	}
	v.waitNoKeys()
	keepReading(t, v, 8)
	v.waitNoKeys()
	wantNotInMemory(t, pid, keys)
}

func TestNoDataKeyIsInMemoryAfterRefusedOpens(t *testing.T) {
	v := mountedVolume(t)
	write(t, v.path("file"), "content")
	write(t, v.path("damaged"), strings.Repeat("content", 100))
	v.waitNoKeys()
	keys := v.dataKeys("file", "damaged")
	damageBody(t, v.storePath("damaged"))
	if err := openErr(v.path("damaged")); err == nil {
		t.Fatal("a file with a damaged root page opens")
	}
	_, key := v.info()
	must(t, openErr(v.path("file")))
	v.kmsfs("key", "disable", key)
	if err := openErr(v.path("file")); err == nil {
		t.Fatal("opens under a disabled key")
	}
	v.kmsfs("key", "enable", key)
	v.waitNoKeys()
	keepReading(t, v, 4)
	wantNotInMemory(t, v.daemonPID(), keys)
}

// damageBody flips a bit at the end of both root pages of a file in the store.
func damageBody(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	for page := 0; page < 2 && len(b) >= (page+1)*4096; page++ {
		b[(page+1)*4096-1] ^= 1
	}
	must(t, os.WriteFile(path, b, 0o644))
}

// wantNotInMemory searches until nothing is found, for a few seconds: the runtime may still be at
// work on buffers of the last request.
func wantNotInMemory(t *testing.T, pid int, keys map[string][]byte) {
	t.Helper()
	var found map[string][]string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if found = searchMemory(t, pid, keys); len(found) == 0 {
			return
		}
	}
	for name, places := range found {
		t.Errorf("the data key of %s is still in memory: %s", name, strings.Join(places, "; "))
	}
}

// The search can find: a secret that is known to be there, the volume's id, is.
func TestMemorySearchFindsWhatIsThere(t *testing.T) {
	v := mountedVolume(t)
	found := searchMemory(t, v.daemonPID(), map[string][]byte{"volume id": []byte(v.id()), "absent": []byte(filepath.Join(v.Mnt, "n", "o", "t"))})
	if len(found["volume id"]) == 0 || len(found["absent"]) != 0 {
		t.Errorf("found %v", found)
	}
}

// The volume key itself is needed only to derive others from.
func TestVolumeKeyIsNotInMemoryWhileMounted(t *testing.T) {
	v := mountedVolume(t)
	keepReading(t, v, 4)
	wantNotInMemory(t, v.daemonPID(), map[string][]byte{"the volume": v.volumeKey()})
}
