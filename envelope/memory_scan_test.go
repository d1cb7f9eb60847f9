package envelope

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

// needle is a key to look for in the process's memory. It is kept inverted, so that the search
// does not find itself.
type needle struct {
	label    string
	inverted []byte
}

// needlesFor returns key as such and as HMAC pads it.
func needlesFor(label string, key []byte) []needle {
	var out []needle
	for _, form := range []struct {
		suffix string
		mask   byte
	}{{"", 0}, {" in the inner pad", 0x36}, {" in the outer pad", 0x5c}} {
		n := needle{label: label + form.suffix, inverted: make([]byte, len(key))}
		for i := range key {
			n.inverted[i] = ^(key[i] ^ form.mask)
		}
		out = append(out, n)
	}
	return out
}

// scanMemory counts the occurrences of needles in the writable memory of this process: heap,
// stacks, and data.
func scanMemory(t *testing.T, needles []needle) map[string]int {
	t.Helper()
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for sc := bufio.NewScanner(bytes.NewReader(maps)); sc.Scan(); {
		var lo, hi uint64
		var mode string
		if _, err := fmt.Sscanf(sc.Text(), "%x-%x %s", &lo, &hi, &mode); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(mode, "rw") && hi-lo < 1<<32 { // beyond: the race detector's shadow
			scanRange(io.NewSectionReader(mem, int64(lo), int64(hi-lo)), needles, found)
		}
	}
	return found
}

// scanRange adds to found what one mapping holds.
func scanRange(r io.Reader, needles []needle, found map[string]int) {
	const overlap = KeySize - 1
	buf := make([]byte, 1<<20)
	defer clear(buf)
	ones := bytes.Repeat([]byte{0xff}, len(buf))
	kept := 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		if n == 0 {
			return
		}
		subtle.XORBytes(buf[kept:kept+n], buf[kept:kept+n], ones)
		for _, nd := range needles {
			found[nd.label] += bytes.Count(buf[:kept+n], nd.inverted)
		}
		if err != nil {
			return
		}
		kept = copy(buf, buf[len(buf)-overlap:])
		clear(buf[kept:]) // the inverted image of a needle is the key
	}
}

// wantGone fails the test for every needle that is still there.
func wantGone(t *testing.T, found map[string]int) {
	t.Helper()
	for label, n := range found {
		if n > 0 {
			t.Errorf("%s is in memory %d times", label, n)
		}
	}
}

// volumeNeedles returns subkeys that must not outlive a volume.
func volumeNeedles(v *Volume) []needle {
	var out []needle
	for label, k := range map[string]*[KeySize]byte{
		"name MAC key": &v.names.mac.key, "directory key": &v.dirs.key, "slot key": &v.slots.key,
		"symlink key": &v.symlinks.mac.key, "rename key": &v.renames.mac.key, "volume file key": &v.volumeFile.key,
	} {
		out = append(out, needlesFor(label, k[:])...)
	}
	return out
}

// heapKey returns a key that is on the heap: a stack that grows leaves its old copy behind.
//
//go:noinline
func heapKey() []byte {
	raw := make([]byte, KeySize)
	for i := range raw {
		raw[i] = byte(i*37 + 11)
	}
	return raw
}

// useVolume makes and uses a volume and returns what to look for once it is wiped.
//
//go:noinline
func useVolume(t *testing.T) (*Volume, []needle) {
	raw := heapKey()
	needles := needlesFor("volume key", raw)
	k, err := NewVolumeKey(raw)
	wantKind(t, err, 0)
	clear(raw)
	v, err := NewVolume(VolumeID{9}, k)
	wantKind(t, err, 0)
	tree := newKeyTree(k.key, v.id[:], SuiteAES256GCM) // to know what to look for
	needles = append(needles, needlesFor("pseudorandom key", tree.prk[:])...)
	var enc [KeySize]byte
	tree.derive(&enc, purposeNameEnc, nil)
	needles = append(needles, needlesFor("name encryption key", enc[:])...)
	clear(enc[:])
	tree.wipe()
	k.Wipe()
	needles = append(needles, volumeNeedles(v)...)
	for i := range 3 {
		v.EncryptName(DirID{1}, fmt.Sprint(i))
		v.SealDir(DirID{1}, fmt.Sprint(i), DirID{2})
		v.SealStat(FileID{1}, 1, 1)
		s, err := v.SealSymlink(DirID{1}, "a", "b")
		wantKind(t, err, 0)
		_, err = v.OpenSymlink(DirID{1}, "a", s)
		wantKind(t, err, 0)
		_, err = v.SealSlots(FileID{1}, twoSlots(v))
		wantKind(t, err, 0)
	}
	newLogFile(t, v, RenameEntry{Old: "/a", New: "/b"})
	_, err = sampleVolumeFile(v).Marshal(v)
	wantKind(t, err, 0)
	return v, needles
}

func TestNoKeyOfAWipedVolumeIsInMemory(t *testing.T) {
	v, needles := useVolume(t)
	before := scanMemory(t, needles)
	if before["name MAC key"] == 0 || before["name encryption key"] == 0 {
		t.Fatalf("the scan does not even find keys in use: %v", before)
	}
	v.Wipe()
	runtime.GC()
	wantGone(t, scanMemory(t, needles))
}
