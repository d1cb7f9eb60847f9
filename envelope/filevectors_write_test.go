package envelope

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
)

// vectorFile is a file being made for a vector, and its backing file.
type vectorFile struct {
	w     *vectorWriter
	file  *File
	store *memStore
}

const vectorMount = 0x1122334455667788

// newFile creates a file with the data key 20 21 ... 3f. Its randomness comes from the seed.
func (w *vectorWriter) newFile(seed byte, area []byte, epochMessages uint64) *vectorFile {
	w.t.Helper()
	raw := make([]byte, KeySize)
	for i := range raw {
		raw[i] = byte(0x20 + i)
	}
	key, err := NewDataKey(raw)
	wantKind(w.t, err, 0)
	v := &vectorFile{w: w, store: &memStore{}}
	o := FileOptions{Store: v.store, Key: key, Stat: w.vol, MountID: vectorMount, Workers: 1, random: rand.NewChaCha8([32]byte{seed})}
	o.limits = defaultLimits
	o.limits.epochMessages = epochMessages
	v.file, err = CreateFile(o, w.vol.id, w.fileID(), area, 0)
	wantKind(w.t, err, 0)
	w.t.Cleanup(v.file.Wipe)
	return v
}

func (w *vectorWriter) fileID() FileID { return FileID(bytes.Repeat([]byte{0xf1}, 16)) }

// area returns the slot area of a file with one name.
func (w *vectorWriter) area(wrapped int) []byte {
	w.t.Helper()
	b, err := w.vol.SealSlots(w.fileID(), SlotTable{Version: 1, Slots: []Slot{{Kind: SlotPath, Tag: w.vol.PathTag("/a/b.txt"), Wrapped: bytes.Repeat([]byte{0xee}, wrapped)}}})
	wantKind(w.t, err, 0)
	return b
}

// file returns a file with a slot area of the usual length.
func (w *vectorWriter) file(seed byte) *vectorFile { return w.newFile(seed, w.area(184), 1<<31) }

// write writes p at off.
func (v *vectorFile) write(off int64, p []byte) *vectorFile {
	v.w.t.Helper()
	_, err := v.file.WriteAt(p, off)
	wantKind(v.w.t, err, 0)
	return v
}

// sync makes what was written durable.
func (v *vectorFile) sync() *vectorFile {
	v.w.t.Helper()
	wantKind(v.w.t, v.file.Sync(), 0)
	return v
}

// truncate sets the size.
func (v *vectorFile) truncate(size int64) *vectorFile {
	v.w.t.Helper()
	wantKind(v.w.t, v.file.Truncate(size), 0)
	return v
}

// ok writes the vector of a good file.
func (v *vectorFile) ok(name, comment string, settled bool, image []byte) {
	v.w.t.Helper()
	p := make([]byte, v.file.Size())
	_, err := v.file.ReadAt(p, 0)
	wantKind(v.w.t, err, 0)
	v.w.write("file", name, "ok", comment, image, "settled", settled, "size", len(p), "content-sha256", fmt.Sprintf("%x", sha256.Sum256(p)))
}

// files writes the vectors of good files.
func (w *vectorWriter) files() {
	w.withFile()
	good := func(v *vectorFile, name, comment string) {
		w.t.Helper()
		v.sync().ok(name, comment, true, v.store.b)
	}
	good(w.file(1), "empty", "just created")
	good(w.file(2).write(0, pattern(2, MaxInline)), "inline-longest", "the longest content in the root page")
	good(w.file(3).write(0, pattern(3, MaxInline+1)), "one-block", "one byte more")
	good(w.file(4).write(5*PageSize+100, []byte("far")).truncate(7*PageSize), "holes", "holes before and after the one block")
	good(w.file(5).write(70*PageSize, []byte("one level")), "one-level", "one level of tag pages")
	good(w.file(6).write(64*112*PageSize, []byte("two levels")), "two-levels", "two levels of tag pages")
	good(w.newFile(7, w.area(3000), 1<<31).write(0, pattern(7, 40000)), "long-slots", "a long slot area leaves room for few entries")
	epochs := w.newFile(8, w.area(184), 3)
	for i := range 4 {
		epochs.write(int64(i)*PageSize, pattern(byte(i), PageSize)).sync()
	}
	good(epochs.write(4*PageSize, pattern(9, PageSize)), "epochs", "blocks of two epochs")
	good(w.file(9).write(0, pattern(12, 20000)).sync().write(5000, pattern(13, 3000)), "out-of-order", "blocks not in order in the backing file")
	good(w.file(10).write(0, pattern(14, 20000)).sync().truncate(100), "shrunk", "content back in the root page")
	rewritten := w.file(11).write(0, pattern(15, 100)).sync()
	r, err := ReadRoots(rewritten.store)
	wantKind(w.t, err, 0)
	if !r.Settled(func(uint64) bool { return false }) {
		w.t.Fatal("not settled")
	}
	wantKind(w.t, RewriteSlots(rewritten.store, r, w.area(300)), 0)
	rewritten.ok("new-slots", "slot area replaced without the data key", true, rewritten.store.b)
}

// withFile sets what the vectors of files have in common.
func (w *vectorWriter) withFile() {
	w.with("file-id", w.fileID(), "data-key", "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f")
}

// forgedFiles writes the vectors of settled files that something was done to.
func (w *vectorWriter) forgedFiles() {
	w.withFile()
	bad := func(name, comment string, image []byte) {
		w.t.Helper()
		w.write("file", "bad-"+name, "corrupt", comment, image, "settled", true)
	}
	v := w.file(21).write(0, pattern(21, 3*PageSize)).sync()
	block := func(i int) []byte { return v.store.b[(2+i)*PageSize:][:PageSize] }
	join := func(b ...[]byte) []byte { return append(bytes.Clone(v.store.b[:2*PageSize]), bytes.Join(b, nil)...) }
	bad("block", "a bit of a block changed", flipBit(v.store.b, 3*PageSize+7))
	bad("repeated", "one block instead of another", join(block(0), block(0), block(2)))
	bad("zeroed", "a block of zeros is not a hole", join(block(0), make([]byte, PageSize), block(2)))
	bad("cut-in-block", "the last byte missing", v.store.b[:len(v.store.b)-1])
	old := bytes.Clone(v.store.b)
	v.write(PageSize, pattern(22, PageSize)).sync()
	bad("replayed", "a block as it was before the last commit", append(bytes.Clone(v.store.b[:5*PageSize]), old[3*PageSize:4*PageSize]...))
	tall := w.file(22).write(70*PageSize, []byte("one level")).sync()
	bad("tag-page", "a bit of a tag page changed", flipBit(tall.store.b, 3*PageSize+100))
	other := w.file(23).write(70*PageSize, []byte("one other")).sync()
	bad("other-history", "the pages of another history of the file", append(bytes.Clone(tall.store.b[:2*PageSize]), other.store.b[2*PageSize:]...))
}

// crashedFiles writes the vectors of files whose last writer did not end cleanly.
func (w *vectorWriter) crashedFiles() {
	w.withFile()
	before := w.file(30).write(0, pattern(30, 3*PageSize)).sync()
	after := w.file(30).write(0, pattern(30, 3*PageSize)).sync().write(PageSize, pattern(31, 2*PageSize))
	r, err := ReadRoots(before.store)
	wantKind(w.t, err, 0)
	wantKind(w.t, after.file.Commit(), 0)
	root := (1 - r.newest) * PageSize // of the last commit; its blocks are pages 5 and 6
	full := after.store.b
	crash := func(f func(b []byte)) []byte {
		b := bytes.Clone(full)
		f(b)
		return b
	}
	before.ok("crash-none", "unclean end right after a flush", false, before.store.b)
	after.ok("crash-all-written", "everything of the last commit is there", false, full)
	before.ok("crash-no-root", "the last root page was not written", false, crash(func(b []byte) { copy(b[root:root+PageSize], make([]byte, PageSize)) }))
	before.ok("crash-garbage-root", "the last root page holds something else", false, crash(func(b []byte) { copy(b[root:], pattern(77, PageSize)) }))
	before.ok("crash-torn-block", "a block of the last commit is half written", false, crash(func(b []byte) { clear(b[6*PageSize+512:]) }))
	before.ok("crash-short", "the backing file was not lengthened", false, full[:5*PageSize])
	w.write("file", "crash-bad-both", "corrupt", "neither root page is good", crash(func(b []byte) {
		for _, at := range []int{0, PageSize} {
			b[at+bodyEnd-1] ^= 1
			sealChecksum((*[PageSize]byte)(b[at:]))
		}
	}), "settled", false)
	w.write("file", "crash-bad-shared", "corrupt", "a block of both commits is damaged", crash(func(b []byte) { b[2*PageSize] ^= 1 }), "settled", false)
}
