package envelope

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// engineVectors says how to check each format of the page engine.
var engineVectors = map[string]func(v *vector){
	"root-page":  checkRootVector,
	"tag-page":   checkTagPageVector,
	"data-block": checkBlockVector,
	"chunk-page": checkChunkPageVector,
	"file":       checkFileVector,
}

func TestEngineVectors(t *testing.T) {
	paths, err := filepath.Glob(vectorDir + "/*.txt")
	must(t, err)
	seen := map[string]int{}
	for _, path := range paths {
		format := readVector(t, path).get("format")
		check := engineVectors[format]
		if check == nil {
			continue // of the volume
		}
		seen[format]++
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) { check(readVector(t, path)) })
	}
	for format := range engineVectors {
		if seen[format] == 0 {
			t.Errorf("no vector of format %s", format)
		}
	}
}

// dataKey returns the key of the file that the vector belongs to.
func (v *vector) dataKey() *DataKey {
	v.t.Helper()
	k, err := NewDataKey(v.bytes("data-key"))
	must(v.t, err)
	return k
}

// fileKeys returns the subkeys of that file.
func (v *vector) fileKeys() *fileKeys {
	k := newFileKeys(v.dataKey(), FileID(v.id("file-id")), SuiteAES256GCM)
	v.t.Cleanup(k.wipe)
	return k
}

// page returns the body, which must be one page.
func (v *vector) page() *[PageSize]byte {
	v.t.Helper()
	if len(v.body) != PageSize {
		v.t.Fatalf("body has %d bytes", len(v.body))
	}
	return (*[PageSize]byte)(v.body)
}

// entryLineOf is how vectors write an entry: its place, page, epoch, nonce and tag, and what it is in
// a compressed chunk.
func entryLineOf(place int, e *entry) string {
	line := fmt.Sprintf("%d %d %d %x %x", place, e.page, e.epoch, e.nonce, e.tag)
	switch e.flags {
	case entryStream:
		return line + " stream"
	case entryRest:
		return fmt.Sprintf("%d rest", place)
	}
	return line
}

// entryLines returns the entries that are not holes.
func entryLines(n int, at func(i int) entry) (lines []string) {
	for i := range n {
		if e := at(i); !e.hole() {
			lines = append(lines, entryLineOf(i, &e))
		}
	}
	return lines
}

// given returns the entry that leads to the vector's page.
func (v *vector) given() entry {
	e := entry{page: firstPage, epoch: uint16(v.number("epoch"))}
	copy(e.nonce[:], v.bytes("nonce"))
	copy(e.tag[:], v.bytes("tag"))
	return e
}

// open opens the vector's page as the page id of a file, for a page of a stream with the shape of its
// chunk.
func (v *vector) open(id nodeID, s shape) (*node, error) {
	f := &File{id: FileID(v.id("file-id")), keys: v.fileKeys(), store: &memStore{b: append(make([]byte, 2*PageSize), v.body...)}}
	e := v.given()
	if id.height > 0 {
		return f.fetchNode("vector", id, &e)
	}
	n := &node{id: id}
	return n, f.fetchShaped("vector", id, s, &e, n.page[:])
}

// sealsAgain seals plain as page id under the vector's nonce and compares.
func (v *vector) sealsAgain(id nodeID, s shape, plain []byte) {
	jobs := []pageJob{{id: id, shape: s, e: v.given(), plain: plain}}
	jobs[0].e.tag = [tagSize]byte{}
	slab := make([]byte, PageSize+tagSize)
	sealPiece(v.fileKeys().epoch(jobs[0].e.epoch), jobs, slab, new([pageAADSize]byte))
	if string(slab[:PageSize]) != string(v.body) || jobs[0].e.tag != v.given().tag {
		v.t.Error("sealing again gives other bytes")
	}
}

func checkTagPageVector(v *vector) {
	id := nodeID{uint8(v.number("height")), v.number("index")}
	n, err := v.open(id, shape{})
	if v.expect(err) {
		if got := entryLines(fanOut, n.entry); !slices.Equal(got, v.fields["entry"]) {
			v.t.Errorf("entries %q, want %q", got, v.fields["entry"])
		}
		v.sealsAgain(id, shape{}, n.page[:])
	}
}

func checkBlockVector(v *vector) { v.checkBlock(shape{}) }

func checkChunkPageVector(v *vector) {
	v.checkBlock(shape{pages: uint8(v.number("pages")), blocks: uint8(v.number("blocks"))})
}

func (v *vector) checkBlock(s shape) {
	id := nodeID{0, v.number("block")}
	n, err := v.open(id, s)
	if v.expect(err) {
		v.same("content-sha256", fmt.Sprintf("%x", sha256.Sum256(n.page[:])))
		v.sealsAgain(id, s, n.page[:])
	}
}

func checkRootVector(v *vector) {
	r, err := ReadRoots(&memStore{b: v.body})
	if err != nil {
		v.expect(err)
		return
	}
	h, keys := r.Newest(), v.fileKeys()
	if !h.checkCommitment(keys.tree) {
		v.expect(newError("vector", KindWrongKey, h.FileID, nil))
		return
	}
	b, err := openRoot(v.page(), keys.tree, h)
	if err != nil {
		v.expect(newError("vector", KindCorrupt, h.FileID, err))
		return
	}
	v.expect(nil)
	v.checkRoot(h, b)
	var again [PageSize]byte
	sealRoot(&again, keys.tree, h, b)
	if again != *v.page() {
		v.t.Error("sealing again gives another page")
	}
}

// checkRoot compares what a root page holds.
func (v *vector) checkRoot(h *Header, b *body) {
	v.same("volume-id", h.VolumeID)
	v.same("file-id", h.FileID)
	v.same("sequence", h.Sequence)
	if len(v.fields["flags"]) > 0 || h.Flags != 0 {
		v.same("flags", h.Flags)
	}
	v.same("revision", h.Revision)
	v.same("mount-id", h.MountID)
	v.same("slot-area", hex.EncodeToString(h.SlotArea))
	v.same("stat-record", hex.EncodeToString(h.StatRecord[:]))
	v.same("size", b.size)
	v.same("used", b.used)
	v.same("end", b.end)
	v.same("epoch", b.epoch)
	v.same("messages", b.messages)
	v.same("height", b.height)
	v.same("inline", hex.EncodeToString(b.inline))
	if got := entryLines(len(b.entries), func(i int) entry { return b.entries[i] }); !slices.Equal(got, v.fields["entry"]) {
		v.t.Errorf("entries %q, want %q", got, v.fields["entry"])
	}
}

// checkFileVector opens a whole store and reads all of it.
func checkFileVector(v *vector) {
	size, sum, err := v.readFile()
	if v.expect(err) {
		v.same("size", size)
		v.same("content-sha256", sum)
	}
}

func (v *vector) readFile() (size int64, sum string, err error) {
	s := &memStore{b: v.body}
	r, err := ReadRoots(s)
	if err != nil {
		return 0, "", err
	}
	o := FileOptions{Store: s, Key: v.dataKey(), Stat: zeroStat{}}
	f, err := OpenFile(o, r, Trust{Settled: v.get("settled") == "true"})
	if err != nil {
		return 0, "", err
	}
	defer f.Wipe()
	p := make([]byte, f.Size())
	_, err = f.ReadAt(p, 0)
	return f.Size(), fmt.Sprintf("%x", sha256.Sum256(p)), err
}
