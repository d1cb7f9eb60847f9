package envelope

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// countingReader yields the bytes 0, 1, 2 … in place of random ones.
type countingReader struct{ next byte }

func (r *countingReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.next
		r.next++
	}
	return len(p), nil
}

// engineWriter makes the vectors of the page engine that do not exist yet.
type engineWriter struct {
	t   *testing.T
	key []byte
	vol *Volume
}

func TestWriteEngineVectors(t *testing.T) {
	if !*writeVectors {
		t.Skip("the vectors are frozen; -write-vectors adds new ones")
	}
	w := &engineWriter{t: t, key: make([]byte, KeySize)}
	for i := range w.key {
		w.key[i] = byte(0xff - i)
	}
	k, err := NewVolumeKey(bytes.Repeat([]byte{1}, KeySize))
	must(t, err)
	w.vol, err = NewVolume(w.volumeID(), k)
	must(t, err)
	w.roots()
	w.pages()
	w.files()
	w.chunks()
}

func (w *engineWriter) volumeID() VolumeID { return VolumeID(bytes.Repeat([]byte{0xa0}, 16)) }
func (w *engineWriter) fileID() FileID     { return FileID(bytes.Repeat([]byte{0xf1}, 16)) }

// create makes a file whose random bytes count up.
func (w *engineWriter) create(area []byte) (*File, *memStore) {
	s := &memStore{}
	k, err := NewDataKey(w.key)
	must(w.t, err)
	f, err := CreateFile(FileOptions{Store: s, Key: k, Stat: w.vol, MountID: 77, random: &countingReader{}}, w.volumeID(), w.fileID(), area, 0)
	must(w.t, err)
	return f, s
}

func (w *engineWriter) write(format, name, expect, comment string, body []byte, pairs ...any) {
	var b strings.Builder
	fmt.Fprintf(&b, "comment: %s\nformat: %s\nexpect: %s\n", comment, format, expect)
	all := append([]any{"volume-id", w.volumeID(), "file-id", w.fileID(), "data-key", hex.EncodeToString(w.key)}, pairs...)
	for i := 0; i < len(all); i += 2 {
		fmt.Fprintf(&b, "%s: %v\n", all[i], all[i+1])
	}
	for i := 0; i < len(body); i += 32 {
		if i == 0 {
			b.WriteByte('\n')
		}
		b.WriteString(hex.EncodeToString(body[i:min(i+32, len(body))]) + "\n")
	}
	path := filepath.Join(vectorDir, format+"-"+name+".txt")
	if _, err := os.Stat(path); err == nil {
		return
	}
	must(w.t, os.WriteFile(path, []byte(b.String()), 0o644))
}

// rootPairs returns what a good root page holds.
func (w *engineWriter) rootPairs(page []byte) (pairs []any) {
	r, err := ReadRoots(&memStore{b: page})
	must(w.t, err)
	h := r.Newest()
	k, err := NewDataKey(w.key)
	must(w.t, err)
	b, err := openRoot((*[PageSize]byte)(page), newFileKeys(k, w.fileID(), 1).tree, h)
	must(w.t, err)
	pairs = []any{"sequence", h.Sequence, "revision", h.Revision, "mount-id", h.MountID,
		"slot-area", hex.EncodeToString(h.SlotArea), "stat-record", hex.EncodeToString(h.StatRecord[:]),
		"size", b.size, "used", b.used, "end", b.end, "epoch", b.epoch, "messages", b.messages,
		"height", b.height, "inline", hex.EncodeToString(b.inline)}
	for _, line := range entryLines(len(b.entries), func(i int) entry { return b.entries[i] }) {
		pairs = append(pairs, "entry", line)
	}
	return pairs
}

func (w *engineWriter) roots() {
	f, s := w.create([]byte("opaque slot area"))
	empty := bytes.Clone(s.b)
	w.write("root-page", "empty", "ok", "a file just created", empty, w.rootPairs(empty)...)
	_, err := f.WriteAt([]byte("hello, world\n"), 0)
	must(w.t, err)
	must(w.t, f.Commit())
	inline := bytes.Clone(s.b[:PageSize])
	w.write("root-page", "inline", "ok", "13 bytes of inline data", inline, w.rootPairs(inline)...)
	_, err = f.WriteAt(pattern(1, 3*PageSize), 2*PageSize)
	must(w.t, err)
	must(w.t, f.Commit())
	blocks := bytes.Clone(s.b[:PageSize])
	w.write("root-page", "blocks", "ok", "entries of data blocks, block 1 is a hole", blocks, w.rootPairs(blocks)...)
	_, err = f.WriteAt([]byte("far"), 100_000_000)
	must(w.t, err)
	must(w.t, f.Commit())
	tall := bytes.Clone(s.b[:PageSize])
	w.write("root-page", "tall", "ok", "entries of tag pages of height 2", tall, w.rootPairs(tall)...)
	w.badRoots(inline)
}

// badRoots makes one fault each.
func (w *engineWriter) badRoots(good []byte) {
	bad := func(name, expect, comment string, off int, change byte, fix bool) {
		page := bytes.Clone(good)
		page[off] ^= change
		if fix {
			reseal(page)
		}
		w.write("root-page", "bad-"+name, expect, comment, page)
	}
	bad("torn", "corrupt", "checksum does not match", 4000, 1, false)
	bad("magic", "corrupt", "magic changed", 0, 1, true)
	bad("version", "unsupported", "format version 3", 7, 2, true)
	bad("suite", "unsupported", "suite 3", offSuite, 2, true)
	bad("flags", "unsupported", "an unknown flag is set", offFlags, 2, true)
	bad("compress-flag", "corrupt", "the flag of compression changed; it is authenticated", offFlags, 1, true)
	bad("area-length", "corrupt", "slot area longer than the room beside the body", offAreaLen+1, 0x0f, true)
	bad("body-length", "corrupt", "body too short for an inode record", offBodyLen, 0x3d^0x0d, true)
	bad("sequence", "corrupt", "sequence changed; it is authenticated", offSequence, 4, true)
	bad("mount", "corrupt", "mount id changed; it is authenticated", offMount, 1, true)
	bad("stat", "corrupt", "stat record changed; it is authenticated", offStat, 1, true)
	bad("commitment", "wrong key", "commitment changed", offCommitment, 1, true)
	bad("salt", "corrupt", "root salt changed", offRootSalt, 1, true)
	bad("body", "corrupt", "body changed", bodyEnd-1, 1, true)
	bad("tag", "corrupt", "body tag changed", bodyEnd, 1, true)
	bad("gap", "corrupt", "a byte between slot area and body is not zero", 2000, 1, true)
	w.write("root-page", "bad-zero", "truncated", "a root page that was never written", make([]byte, PageSize))
	w.write("root-page", "bad-short", "truncated", "half a root page", good[:2048])
}

func (w *engineWriter) pages() {
	f, s := w.create(nil)
	must(w.t, f.SetSlotArea(make([]byte, MaxSlotArea)))
	for _, off := range []int64{0, 5 * PageSize, 40 * PageSize} {
		_, err := f.WriteAt(pattern(byte(off/PageSize), PageSize), off)
		must(w.t, err)
	}
	must(w.t, f.Commit())
	top := f.rootEntry(0)
	page := s.b[top.page*PageSize : (top.page+1)*PageSize]
	n := f.nodes.get(nodeID{1, 0})
	pairs := func(e *entry, id nodeID) []any {
		p := []any{"epoch", e.epoch, "nonce", hex.EncodeToString(e.nonce[:]), "tag", hex.EncodeToString(e.tag[:])}
		if id.height == 0 {
			return append(p, "block", id.index)
		}
		return append(p, "height", id.height, "index", id.index)
	}
	good := pairs(&top, n.id)
	for _, line := range entryLines(fanOut, n.entry) {
		good = append(good, "entry", line)
	}
	w.write("tag-page", "sparse", "ok", "entries of blocks 0, 5 and 40", page, good...)
	w.write("tag-page", "bad-edited", "corrupt", "a bit of the ciphertext changed", flipBit(page, 1234), pairs(&top, n.id)...)
	w.write("tag-page", "bad-index", "corrupt", "read as another node of the same height", page, pairs(&top, nodeID{1, 1})...)
	w.write("tag-page", "bad-height", "corrupt", "read as a node of another height", page, pairs(&top, nodeID{2, 0})...)
	e := n.entry(5)
	block := s.b[e.page*PageSize : (e.page+1)*PageSize]
	sum := sha256.Sum256(pattern(5, PageSize))
	w.write("data-block", "five", "ok", "block 5", block, append(pairs(&e, nodeID{0, 5}), "content-sha256", hex.EncodeToString(sum[:]))...)
	w.write("data-block", "bad-edited", "corrupt", "last bit changed", flipBit(block, PageSize-1), pairs(&e, nodeID{0, 5})...)
	w.write("data-block", "bad-number", "corrupt", "read as block 6", block, pairs(&e, nodeID{0, 6})...)
	w.write("data-block", "bad-kind", "corrupt", "read as a tag page", block, pairs(&e, nodeID{0, 0})...)
	other := e
	other.epoch = 1
	w.write("data-block", "bad-epoch", "corrupt", "read under the next epoch", block, pairs(&other, nodeID{0, 5})...)
}

// files makes whole stores, among them what a power loss leaves.
func (w *engineWriter) files() {
	result := func(p []byte) []any {
		sum := sha256.Sum256(p)
		return []any{"size", len(p), "content-sha256", hex.EncodeToString(sum[:])}
	}
	settled, unsettled := []any{"settled", true}, []any{"settled", false}
	f, s := w.create([]byte("slots"))
	old, now := pattern(3, 5000), pattern(4, 6000)
	writeSynced(w.t, f, old)
	w.write("file", "synced", "ok", "5000 bytes in two blocks", s.b, append(settled, result(old)...)...)
	writeSynced(w.t, f, now)
	w.write("file", "overwritten", "ok", "two root pages, the second is newer", s.b, append(settled, result(now)...)...)
	lost := bytes.Clone(s.b)
	clear(lost[5*PageSize : 6*PageSize])
	w.write("file", "lost-block", "ok", "power loss before the newer root's second block was written: the older root holds", lost, append(unsettled, result(old)...)...)
	w.write("file", "bad-lost-block", "corrupt", "the same in a file whose writer ended cleanly", lost, settled...)
	torn := bytes.Clone(s.b)
	copy(torn[PageSize+2048:2*PageSize], make([]byte, 2048))
	w.write("file", "torn-root", "ok", "power loss while the newer root was written: the older root holds", torn, append(unsettled, result(old)...)...)
	w.write("file", "bad-torn-root", "corrupt", "the same in a file whose writer ended cleanly", torn, settled...)
	swapped := bytes.Clone(s.b)
	copy(swapped[4*PageSize:], s.b[5*PageSize:6*PageSize])
	copy(swapped[5*PageSize:], s.b[4*PageSize:5*PageSize])
	w.write("file", "bad-swapped", "corrupt", "two blocks exchanged", swapped, settled...)
	w.write("file", "bad-cut", "corrupt", "the last page is missing", s.b[:5*PageSize], settled...)
	w.write("file", "bad-empty", "truncated", "an empty store", nil, settled...)
}

// The key tree is plain HKDF-SHA256 (RFC 5869), whatever way it is computed.
func TestKeyTreeIsHKDF(t *testing.T) {
	key, salt := [KeySize]byte(bytes.Repeat([]byte{5}, KeySize)), bytes.Repeat([]byte{6}, 16)
	tree := newKeyTree(&key, salt, SuiteAES256GCM)
	prk, err := hkdf.Extract(sha256.New, key[:], salt)
	must(t, err)
	for _, p := range []purpose{purposeCommit, purposeRoot, purposeTree, purposeBlock, purposeSlots} {
		for _, parameter := range [][]byte{nil, {1, 0, 0, 0}, bytes.Repeat([]byte{7}, rootSaltSize)} {
			info := "kmsfs/1 " + string(p) + "\x00\x01" + string(parameter)
			want, err := hkdf.Expand(sha256.New, prk, info, KeySize)
			must(t, err)
			var got [KeySize]byte
			tree.derive(&got, p, parameter)
			if !bytes.Equal(got[:], want) {
				t.Errorf("subkey %q: %x, want %x", info, got, want)
			}
		}
	}
}
