package envelope

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"runtime"
	"testing"
)

// secretsOf returns what must not outlive a file: its keys and subkeys, and some of its content.
// They come from a derivation of its own, whose copies are wiped.
//
//go:noinline
func secretsOf(t *testing.T, raw []byte, id FileID, content []byte) []needle {
	needles := needlesFor("data key", raw)
	tree := newKeyTree((*[KeySize]byte)(raw), id[:], SuiteAES256GCM)
	needles = append(needles, needlesFor("pseudorandom key", tree.prk[:])...)
	for _, p := range []purpose{purposeTree, purposeBlock} {
		var sub [KeySize]byte
		tree.derive(&sub, p, binary.LittleEndian.AppendUint32(nil, 0))
		needles = append(needles, needlesFor("subkey "+string(p), sub[:])...)
		clear(sub[:])
	}
	tree.wipe()
	burnStack()
	return append(needles, needlesFor("content", content[100:132])[0])
}

// useFile opens, writes and reads a file so that all of its secrets have been in memory.
//
//go:noinline
func useFile(t *testing.T, flags uint16) (*File, []needle) {
	raw, content := heapKey(), make([]byte, 300_000)
	for i := range raw {
		raw[i] ^= byte(i) | 0x40 // another key than other tests use
	}
	for i := range content {
		content[i] = byte(i*i>>3) ^ byte(i*7) ^ byte(flags)<<5
		if flags != 0 && i%8 > 4 {
			content[i] = 'x' // so that it compresses, with many literals
		}
	}
	k, err := NewDataKey(raw)
	must(t, err)
	s := &memStore{}
	f, err := CreateFile(FileOptions{Store: s, Key: k, Stat: zeroStat{}, Workers: 2}, VolumeID{1}, FileID{6}, nil, flags)
	must(t, err)
	needles := secretsOf(t, raw, FileID{6}, content)
	k.Wipe()
	clear(raw)
	burnStack()
	_, err = f.WriteAt(content, 0)
	must(t, err)
	must(t, f.Sync())
	_, err = f.WriteAt(content[:5000], 10) // leaves a buffer
	must(t, err)
	_, err = f.ReadAt(content, 0)
	must(t, err)
	_, err = f.ReadAt(content[:7000], 1000) // fills a cache
	must(t, err)
	clear(content)
	return f, needles
}

func TestNoKeyOrPlaintextOfAWipedFileIsInMemory(t *testing.T) { wantFileGone(t, 0) }

func TestNoPlaintextOfAWipedCompressedFileIsInMemory(t *testing.T) { wantFileGone(t, FlagCompress) }

func wantFileGone(t *testing.T, flags uint16) {
	f, needles := useFile(t, flags)
	runtime.GC()
	before := scanMemory(t, needles)
	if before["subkey block"] == 0 || before["content"] == 0 {
		t.Fatalf("the scan does not even find what is in use: %v", before)
	}
	f.Wipe()
	runtime.GC()
	wantGone(t, scanMemory(t, needles))
}

func TestWipeClearsCipherKeySchedules(t *testing.T) {
	f, _ := newTestFile(t)
	writeSynced(t, f, pattern(1, 100_000))
	k := f.keys.epoch(0)
	f.Wipe()
	for name, a := range map[string]cipher.AEAD{"tree": k.tree, "block": k.block} {
		if !plainMemoryIsZero(a) {
			t.Errorf("the %s cipher still holds its key schedule", name)
		}
	}
	if f.keys.tree.prk != [KeySize]byte{} || len(f.dirty) != 0 {
		t.Error("pseudorandom key or buffers left")
	}
}

func TestDataKeyPrintsRedacted(t *testing.T) {
	k := dataKeyOf(t, 'k')
	for _, s := range printed(t, k) {
		if bytes.Contains([]byte(s), []byte("kkkk")) || bytes.Contains([]byte(s), []byte("107 107")) {
			t.Errorf("key printed: %s", s)
		}
	}
	k.Wipe()
	if !k.wiped() {
		t.Error("key not wiped")
	}
	_, err := NewDataKey(make([]byte, 31))
	wantKind(t, err, KindInvalid)
}
