package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// forgeChunk stores stream as chunk of f, as a holder of the key could who does not follow the format.
func forgeChunk(t testing.TB, f *File, chunk uint64, s shape, stream []byte) {
	t.Helper()
	must(t, f.prepareWrite("forge"))
	first := chunk * chunkBlocks
	f.ensureHeight(first + chunkBlocks - 1)
	_, err := f.dirtyLeaf("forge", first)
	must(t, err)
	stream = append(bytes.Clone(stream), make([]byte, int(s.pages)*PageSize-len(stream))...)
	var jobs []pageJob
	for i := range int(s.pages) {
		jobs = append(jobs, pageJob{id: nodeID{0, first + uint64(i)}, shape: s, plain: stream[i*PageSize:][:PageSize]})
		jobs[i].e.flags = entryStream
	}
	must(t, f.writePages("forge", jobs))
	for i := int(s.pages); i < int(s.blocks); i++ {
		jobs = append(jobs, pageJob{id: nodeID{0, first + uint64(i)}, e: entry{flags: entryRest}})
	}
	f.linkBlocks(jobs)
	f.size = max(f.size, (first+uint64(s.blocks))*PageSize)
	must(t, f.Sync())
}

// streamOf puts the length in front of a frame.
func streamOf(frame []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(frame))), frame...)
}

// frameOf compresses p with options of its own.
func frameOf(t testing.TB, p []byte, o ...zstd.EOption) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, append([]zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true)}, o...)...)
	must(t, err)
	return e.EncodeAll(p, nil)
}

// header is that of a frame of n bytes.
func header(n int) []byte {
	return binary.LittleEndian.AppendUint16([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x60}, uint16(n-256))
}

// badStream is an authentic stream that no writer produces.
type badStream struct {
	name, comment string
	stream        []byte
}

// shape is that of 16 blocks in as many pages as the stream needs.
func (b *badStream) shape() shape {
	return shape{uint8((len(b.stream) + PageSize - 1) / PageSize), chunkBlocks}
}

// badStreams returns faults of a stream for a chunk of 16 blocks.
func badStreams(t testing.TB) []badStream {
	content := pattern(3, chunkSize)
	good := frameOf(t, content)
	bomb := func(n uint32) []byte { // RLE blocks of 128 KiB
		b := header(chunkSize)
		for range n {
			b = append(b, 0x02, 0x00, 0x10, 'x') // size 1<<17, type 1
		}
		return append(b, 0x03, 0x00, 0x10, 'x')
	}
	edited := func(off int, change byte) []byte {
		b := bytes.Clone(good)
		b[off] ^= change
		return b
	}
	giant := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, 0, 0, 0, 0, 0, 1, 0, 0) // 2^40 bytes
	empty := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0}, 1, 0, 0)
	padded := append(streamOf(good), make([]byte, PageSize-streamHeader-len(good))...)
	padded[PageSize-1] = 1
	return []badStream{
		{"bomb", "blocks of one repeated byte that decompress to 128 MiB, under a header that says 64 KiB", streamOf(bomb(999))},
		{"giant", "a header that says 2^40 bytes", streamOf(append(giant, 1, 0, 0))},
		{"shorter", "a frame of 60 KiB for 16 blocks", streamOf(frameOf(t, content[:15*PageSize]))},
		{"longer", "a frame of 68 KiB for 16 blocks", streamOf(frameOf(t, append(content, content[:PageSize]...)))},
		{"less", "a header that says 64 KiB before less", streamOf(append(header(chunkSize), frameOf(t, content[:15*PageSize])[frameHeader:]...))},
		{"two-frames", "an empty frame behind the frame", streamOf(append(bytes.Clone(good), empty...))},
		{"skippable", "a skippable frame before the frame", streamOf(append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, good...))},
		{"trailing", "a byte behind the frame that belongs to its length", streamOf(append(bytes.Clone(good), 0))},
		{"cut", "the last byte of the frame is missing", streamOf(good[:len(good)-1])},
		{"checksum", "a frame with a checksum", streamOf(frameOf(t, content, zstd.WithEncoderCRC(true)))},
		{"window", "a frame with a window in place of a single segment", streamOf(frameOf(t, content, zstd.WithSingleSegment(false), zstd.WithWindowSize(1024)))},
		{"dictionary", "a frame that asks for a dictionary", streamOf(append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x61, 7}, good[5:]...))},
		{"magic", "not zstd", streamOf(edited(0, 1))},
		{"block", "a damaged block in the frame", streamOf(edited(len(good)-2, 0xff))},
		{"reserved-block", "a block of the reserved type", streamOf(append(header(chunkSize), 0x07, 0, 0))},
		{"length-zero", "length 0", make([]byte, PageSize)},
		{"length-beyond", "a length beyond the pages", append([]byte{0xfd, 0x0f, 0, 0}, good...)},
		{"length-huge", "length 2^32-1", append([]byte{0xff, 0xff, 0xff, 0xff}, good...)},
		{"padding", "padding that is not zero", padded},
	}
}

// compressedFiles writes the vectors of good files with compressed chunks, and what crashes leave.
func (w *vectorWriter) compressedFiles() {
	w.withFile()
	text := func(seed byte, n int) []byte { return pattern(seed, n) }
	file := func(seed byte) *vectorFile {
		v := w.file(seed)
		wantKind(w.t, v.file.SetCompress(true), 0)
		return v
	}
	good := func(v *vectorFile, name, comment string) *vectorFile {
		w.t.Helper()
		v.sync().ok(name, comment, true, v.store.b)
		return v
	}
	good(file(40).write(0, text(40, 100)), "compressed-inline", "of a compressed file only chunks of at least two blocks are compressed")
	good(file(41).write(0, text(41, 6*PageSize-99)), "compressed-tail", "a chunk of 6 blocks in one page")
	good(file(42).write(0, text(42, 2*chunkSize+3*PageSize)), "compressed", "two chunks and the tail")
	mixed := file(43).write(0, text(43, chunkSize+5*PageSize)).sync().write(chunkSize+2*PageSize+7, []byte("part"))
	good(mixed, "compressed-part", "a chunk that was changed in part is raw, the other compressed")
	good(file(44).write(0, text(44, 5*PageSize)).sync().truncate(3*chunkSize), "compressed-grown", "a hole behind the compressed blocks of a chunk")
	punched := file(45).write(0, text(45, 3*chunkSize)).sync()
	wantKind(w.t, punched.file.Punch(chunkSize, chunkSize), 0)
	good(punched, "compressed-hole", "a chunk that is a hole between compressed ones")
	good(file(46).write(70*chunkSize, text(46, chunkSize)), "compressed-far", "a compressed chunk below two levels of tag pages")
	off := file(47).write(0, text(47, chunkSize)).sync()
	wantKind(w.t, off.file.SetCompress(false), 0)
	good(off.write(chunkSize, text(48, 3*PageSize)), "compressed-off", "compression switched off after the first chunk")
	w.crashedChunks(func() *vectorFile { return file(50).write(0, text(50, 2*chunkSize)).sync() })
}

// crashedChunks writes the vectors of compressed files whose last writer did not end cleanly.
func (w *vectorWriter) crashedChunks(make func() *vectorFile) {
	before, after := make(), make().write(0, pattern(51, chunkSize))
	wantKind(w.t, after.file.Commit(), 0)
	page := int(after.file.rootEntry(0).page) // the one page of the new chunk
	full := after.store.b
	after.ok("crash-compressed-written", "a compressed chunk of the last commit is there", false, full)
	torn := bytes.Clone(full)
	clear(torn[page*PageSize+2048:][:2048])
	before.ok("crash-compressed-torn", "a page of the stream of the last commit is half written", false, torn)
	lost := bytes.Clone(full)
	clear(lost[page*PageSize:][:PageSize])
	before.ok("crash-compressed-lost", "a page of the stream of the last commit was not written", false, lost)
	w.write("file", "bad-compressed-torn", "corrupt", "the same in a file whose writer ended cleanly", torn, "settled", true)
}

// forgedChunks writes the vectors of settled files whose compressed chunks something was done to.
func (w *vectorWriter) forgedChunks() {
	w.withFile()
	bad := func(name, comment string, image []byte) {
		w.t.Helper()
		w.write("file", "bad-stream-"+name, "corrupt", comment, image, "settled", true)
	}
	for i, b := range badStreams(w.t) {
		v := w.file(byte(60 + i))
		forgeChunk(w.t, v.file, 0, b.shape(), b.stream)
		bad(b.name, "authentic, but "+b.comment, v.store.b)
	}
	v := w.file(90)
	noise := append(bytes.Clone(pattern(1, 8*PageSize)), frameOf(w.t, pattern(2, 100))...)
	for i := range 2 * PageSize { // two pages that can't be compressed
		sum := sha256.Sum256(binary.LittleEndian.AppendUint32(nil, uint32(i/32)))
		noise[i] = sum[i%32]
	}
	wantKind(w.t, v.file.SetCompress(true), 0)
	v.write(0, noise[:8*PageSize]).sync()
	image := func(f func(b []byte)) []byte {
		b := bytes.Clone(v.store.b)
		f(b)
		return b
	}
	first := int(v.file.rootEntry(0).page) * PageSize
	bad("edited", "a bit of a page of a stream changed", image(func(b []byte) { b[first+99] ^= 1 }))
	bad("swapped", "two pages of a stream exchanged", image(func(b []byte) {
		copy(b[first:], v.store.b[first+PageSize:first+2*PageSize])
		copy(b[first+PageSize:], v.store.b[first:first+PageSize])
	}))
	bad("zeroed", "a page of a stream zeroed", image(func(b []byte) { clear(b[first : first+PageSize]) }))
}

// chunks writes the vectors of single pages that concern compressed chunks.
func (w *engineWriter) chunks() {
	f, s := w.create(nil)
	must(w.t, f.SetCompress(true))
	_, err := f.WriteAt(pattern(1, 6*PageSize), 0)
	must(w.t, err)
	must(w.t, f.Commit())
	root := bytes.Clone(s.b[:PageSize])
	w.write("root-page", "chunk", "ok", "a compressed chunk of 6 blocks in one page", root, append([]any{"flags", 1}, w.rootPairs(root)...)...)

	e := f.rootEntry(0)
	page := s.b[e.page*PageSize : (e.page+1)*PageSize]
	var plain [PageSize]byte
	must(w.t, f.fetchShaped("vector", nodeID{0, 0}, shape{1, 6}, &e, plain[:]))
	sum := sha256.Sum256(plain[:])
	pairs := func(block, pages, blocks int) []any {
		return []any{"epoch", e.epoch, "nonce", hex.EncodeToString(e.nonce[:]), "tag", hex.EncodeToString(e.tag[:]), "block", block, "pages", pages, "blocks", blocks}
	}
	w.write("chunk-page", "one", "ok", "the only page of a chunk of 6 blocks", page, append(pairs(0, 1, 6), "content-sha256", hex.EncodeToString(sum[:]))...)
	w.write("chunk-page", "bad-edited", "corrupt", "a bit of the ciphertext changed", flipBit(page, 77), pairs(0, 1, 6)...)
	w.write("chunk-page", "bad-position", "corrupt", "read as the second page", page, pairs(1, 2, 6)...)
	w.write("chunk-page", "bad-chunk", "corrupt", "read as of the next chunk", page, pairs(16, 1, 6)...)
	w.write("chunk-page", "bad-pages", "corrupt", "read as one of two pages", page, pairs(0, 2, 6)...)
	w.write("chunk-page", "bad-blocks", "corrupt", "read as of a chunk of 7 blocks", page, pairs(0, 1, 7)...)
	w.write("data-block", "bad-stream", "corrupt", "a page of a stream read as a data block", page, pairs(0, 1, 6)[:8]...)
	w.badShapes()
}

// badShapes writes the vectors of tag pages that are authentic but whose entries contradict each other.
func (w *engineWriter) badShapes() {
	f, s := w.create(nil)
	k := f.keys.epoch(0)
	seal := func(name, expect, comment string, height uint8, set func(n *node)) {
		n := newNode(nodeID{height, 0})
		set(n)
		jobs := []pageJob{{id: n.id, plain: n.page[:]}}
		jobs[0].e.nonce[0] = byte(len(comment))
		slab := make([]byte, PageSize+tagSize)
		sealPiece(k, jobs, slab, new([pageAADSize]byte))
		e := &jobs[0].e
		given := []any{"epoch", 0, "nonce", hex.EncodeToString(e.nonce[:]), "tag", hex.EncodeToString(e.tag[:]), "height", height, "index", 0}
		for _, line := range entryLines(fanOut, n.entry) {
			if expect == "ok" {
				given = append(given, "entry", line)
			}
		}
		w.write("tag-page", name, expect, comment, slab[:PageSize], given...)
	}
	chunk := func(at, pages, blocks int) func(n *node) {
		return func(n *node) {
			for i := range pages {
				n.setEntry(at+i, &entry{page: uint64(firstPage + i), flags: entryStream})
			}
			for i := pages; i < blocks; i++ {
				n.setEntry(at+i, &entry{flags: entryRest})
			}
		}
	}
	and := func(do func(n *node), at int, e entry) func(n *node) {
		return func(n *node) { do(n); n.setEntry(at, &e) }
	}
	seal("chunks", "ok", "a compressed chunk of 16 blocks in 14 pages, a raw block, a chunk of 2 blocks in one page", 1, and(func(n *node) { chunk(0, 14, 16)(n); chunk(96, 1, 2)(n) }, 40, entry{page: 50}))
	seal("bad-chunk-saving", "corrupt", "15 pages of 16 save too little", 1, chunk(0, 15, 16))
	seal("bad-chunk-one", "corrupt", "one page for one block saves nothing", 1, chunk(16, 1, 1))
	seal("bad-chunk-no-stream", "corrupt", "blocks in a stream without pages", 1, chunk(0, 0, 5))
	seal("bad-chunk-inner", "corrupt", "a stream that does not begin with its chunk", 1, chunk(3, 1, 9))
	seal("bad-chunk-across", "corrupt", "a stream across two chunks", 1, chunk(0, 2, 20))
	seal("bad-chunk-raw", "corrupt", "a raw block behind the compressed ones", 1, and(chunk(0, 1, 8), 8, entry{page: 60}))
	seal("bad-chunk-gap", "corrupt", "a hole among the compressed blocks", 1, and(chunk(0, 1, 8), 5, entry{}))
	seal("bad-chunk-height", "corrupt", "entries of a compressed chunk that name tag pages", 2, chunk(0, 1, 8))
	seal("bad-chunk-rest", "corrupt", "an entry of a block without a page that has an epoch", 1, and(chunk(0, 1, 8), 7, entry{flags: entryRest, epoch: 1}))
	seal("bad-chunk-root", "corrupt", "a stream in a root page", 1, and(chunk(0, 1, 8), 0, entry{page: 1, flags: entryStream}))
	seal("bad-entry-flag", "corrupt", "an unknown flag", 1, and(chunk(0, 1, 8), 40, entry{page: 60, flags: 4}))
	_ = s
}
