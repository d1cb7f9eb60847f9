package envelope

import (
	"bytes"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// newCompressedFile creates an empty file that is to be compressed.
func newCompressedFile(t testing.TB) (*File, *memStore) {
	t.Helper()
	f, s := newTestFile(t)
	must(t, f.SetCompress(true))
	return f, s
}

// noise returns n bytes that do not compress.
func noise(seed byte, n int) []byte {
	p := make([]byte, n)
	_, _ = mathrand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

// reopened wipes f and opens its store again.
func reopened(t testing.TB, f *File, s Store) *File {
	t.Helper()
	f.Wipe()
	g, err := openTestFile(t, s)
	must(t, err)
	return g
}

func TestCompressionSavesRealSpace(t *testing.T) {
	f, s := newCompressedFile(t)
	want := pattern(1, 1<<20+5*PageSize)
	writeSynced(t, f, want)
	if f.Allocated() > 1<<20/4 || len(s.b) > 1<<20/4 {
		t.Errorf("%d bytes take %d, in a store of %d", len(want), f.Allocated(), len(s.b))
	}
	g := reopened(t, f, s)
	wantContent(t, g, want)
	if !g.Compresses() {
		t.Error("the file has forgotten that it is compressed")
	}
	must(t, g.Verify(nil))
}

func TestContentThatDoesNotCompressCostsNothingMore(t *testing.T) {
	sizes := map[bool]int64{}
	for _, compress := range []bool{false, true} {
		f, s := newTestFile(t)
		must(t, f.SetCompress(compress))
		want := noise(1, 300_000)
		writeSynced(t, f, want)
		sizes[compress] = f.Allocated()
		wantContent(t, reopened(t, f, s), want)
	}
	if sizes[true] != sizes[false] {
		t.Errorf("%d pages compressed, %d raw", sizes[true]/PageSize, sizes[false]/PageSize)
	}
}

// A chunk is compressed when that saves an eighth of its pages, and not otherwise.
func TestChunksAreCompressedWhereAnEighthIsSaved(t *testing.T) {
	for _, c := range []struct{ blocks, random, pages int }{
		{1, 0, 1}, {2, 0, 1}, {2, 1, 2}, {8, 6, 7}, {8, 7, 8}, {9, 7, 9}, {9, 6, 7}, {16, 0, 1}, {16, 13, 14}, {16, 14, 16}, {16, 16, 16},
	} {
		f, s := newCompressedFile(t)
		want := append(noise(7, c.random*PageSize), make([]byte, (c.blocks-c.random)*PageSize)...)
		writeSynced(t, f, want)
		if got := int(f.Allocated() / PageSize); got != c.pages {
			t.Errorf("%d blocks, %d of them random, take %d pages, want %d", c.blocks, c.random, got, c.pages)
		}
		wantContent(t, reopened(t, f, s), want)
	}
}

// After the first change of a chunk, an overwrite of one block costs what it costs in a raw file.
func TestRandomOverwritesWriteOneBlock(t *testing.T) {
	cost := map[bool]int{}
	for _, compress := range []bool{false, true} {
		f, s := newTestFile(t)
		must(t, f.SetCompress(compress))
		want := pattern(1, 4*chunkSize)
		writeSynced(t, f, want)
		overwrite := func(seed byte) {
			for chunk := range 4 {
				off := chunk*chunkSize + int(seed%chunkBlocks)*PageSize
				p := pattern(seed, PageSize)
				copy(want[off:], p)
				_, err := f.WriteAt(p, int64(off))
				must(t, err)
				must(t, f.Sync())
			}
		}
		overwrite(3)
		before := s.wrote
		for seed := range byte(20) {
			overwrite(seed)
		}
		cost[compress] = s.wrote - before
		wantContent(t, reopened(t, f, s), want)
	}
	if cost[true] != cost[false] {
		t.Errorf("%d bytes written to a compressed file, %d to a raw one", cost[true], cost[false])
	}
}

func TestChunkOverwrittenAsAWholeIsCompressedAgain(t *testing.T) {
	f, s := newCompressedFile(t)
	writeSynced(t, f, pattern(1, 2*chunkSize))
	small := f.Allocated()
	_, err := f.WriteAt([]byte("x"), 100)
	must(t, err)
	must(t, f.Sync())
	if f.Allocated() < chunkSize {
		t.Fatal("the chunk is not raw after a change of a part")
	}
	want := pattern(2, 2*chunkSize)
	for i := 0; i < chunkSize; i += 1000 { // in small requests
		_, err := f.WriteAt(want[i:min(i+1000, chunkSize)], int64(i))
		must(t, err)
	}
	copy(want[chunkSize:], pattern(1, 2*chunkSize)[chunkSize:])
	must(t, f.Sync())
	wantContent(t, f, want)
	if f.Allocated() > small+PageSize {
		t.Errorf("%d bytes, %d before", f.Allocated(), small)
	}
	wantContent(t, reopened(t, f, s), want)
}

// A log that grows by a line now and then, with a commit in between, is compressed but for its tail.
func TestSlowAppendsAreCompressed(t *testing.T) {
	for _, step := range []int{100, 3000, PageSize, 20_000} {
		f, s := newCompressedFile(t)
		want := pattern(1, 5*chunkSize+7000)
		for i := 0; i < len(want); i += step {
			_, err := f.WriteAt(want[i:min(i+step, len(want))], int64(i))
			must(t, err)
			if i/step%8 == 0 {
				must(t, f.Commit())
			}
		}
		must(t, f.Sync())
		if f.Allocated() > 3*chunkSize {
			t.Errorf("in steps of %d: %d bytes take %d", step, len(want), f.Allocated())
		}
		wantContent(t, reopened(t, f, s), want)
	}
}

func TestSmallReadsDecompressAChunkOnce(t *testing.T) {
	f, s := newCompressedFile(t)
	want := pattern(1, 8*chunkSize)
	writeSynced(t, f, want)
	f = reopened(t, f, s)
	p := make([]byte, PageSize)
	read := func(block int) {
		n, err := f.ReadAt(p, int64(block)*PageSize)
		if err != nil || !bytes.Equal(p[:n], want[block*PageSize:][:PageSize]) {
			t.Fatalf("block %d: %v", block, err)
		}
	}
	read(0)
	before := s.reads.Load()
	for block := range chunkBlocks {
		read(block)
	}
	if s.reads.Load() != before {
		t.Errorf("%d reads of the store for a chunk in the cache", s.reads.Load()-before)
	}
	for block := 0; block < 8*chunkBlocks; block++ {
		read(block)
	}
	if n := len(f.chunks.list); n > maxCachedChunks {
		t.Errorf("%d chunks in the cache", n)
	}
}

func TestHolesAndSizeChangesInCompressedChunks(t *testing.T) {
	for name, change := range map[string]func(f *File) (want []byte){
		"punch a part": func(f *File) []byte {
			must(t, f.Punch(5000, 20_000))
			want := pattern(1, 3*chunkSize)
			clear(want[5000:25_000])
			return want
		},
		"punch across": func(f *File) []byte {
			must(t, f.Punch(chunkSize-PageSize, chunkSize+2*PageSize))
			want := pattern(1, 3*chunkSize)
			clear(want[chunkSize-PageSize : 2*chunkSize+PageSize])
			return want
		},
		"shrink": func(f *File) []byte {
			must(t, f.Truncate(chunkSize+5*PageSize))
			return pattern(1, 3*chunkSize)[:chunkSize+5*PageSize]
		},
		"shrink and grow": func(f *File) []byte {
			must(t, f.Truncate(chunkSize+100))
			must(t, f.Truncate(3*chunkSize))
			return append(pattern(1, 3*chunkSize)[:chunkSize+100], make([]byte, 2*chunkSize-100)...)
		},
		"shrink to the root page": func(f *File) []byte {
			must(t, f.Truncate(1000))
			return pattern(1, 1000)
		},
		"grow and write behind": func(f *File) []byte {
			must(t, f.Truncate(3*chunkSize-PageSize))
			must(t, f.Sync())
			must(t, f.Truncate(5*chunkSize))
			_, err := f.WriteAt([]byte("x"), 3*chunkSize-100)
			must(t, err)
			want := append(pattern(1, 3*chunkSize-PageSize), make([]byte, 2*chunkSize+PageSize)...)
			want[3*chunkSize-100] = 'x'
			return want
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, s := newCompressedFile(t)
			writeSynced(t, f, pattern(1, 3*chunkSize))
			want := change(f)
			wantContent(t, f, want)
			must(t, f.Sync())
			g := reopened(t, f, s)
			wantContent(t, g, want)
			must(t, g.Verify(nil))
		})
	}
}

func TestCompressionSwitchedOffHoldsForLaterWrites(t *testing.T) {
	f, s := newCompressedFile(t)
	writeSynced(t, f, pattern(1, chunkSize))
	must(t, f.SetCompress(false))
	if !f.Dirty() {
		t.Error("nothing to commit")
	}
	_, err := f.WriteAt(pattern(2, chunkSize), chunkSize)
	must(t, err)
	must(t, f.Sync())
	if got := f.Allocated() / PageSize; got < chunkBlocks || got > chunkBlocks+4 {
		t.Errorf("%d pages", got)
	}
	g := reopened(t, f, s)
	wantContent(t, g, slices.Concat(pattern(1, chunkSize), pattern(2, chunkSize)))
	if g.Compresses() {
		t.Error("still compressed")
	}
}

func TestAttackOnAnyPageOfACompressedFileIsDetected(t *testing.T) {
	v := newVictim(t)
	f, s := newCompressedFile(t)
	must(t, f.SetSlotArea(make([]byte, 2500)))
	v.want = slices.Concat(noise(1, 5*PageSize), pattern(2, 11*PageSize), pattern(3, 6*chunkSize))
	writeSynced(t, f, v.want)
	f.Wipe()
	v.store = s
	must(t, v.read())
	old := bytes.Clone(s.b)
	for i := firstPage; i < s.pages(); i++ {
		for _, attack := range []func(page []byte){
			func(page []byte) { page[i%PageSize] ^= 1 },
			func(page []byte) { clear(page) },
			func(page []byte) {
				copy(page, old[(firstPage+(i-firstPage+1)%(s.pages()-firstPage))*PageSize:][:PageSize])
			},
		} {
			attack(v.page(i))
			v.wantCorrupt()
			copy(v.page(i), old[i*PageSize:])
		}
	}
	for seed := range byte(3) {
		v.rewriteHalf(seed)
	}
	for i := firstPage; i < min(len(old)/PageSize, s.pages()); i++ {
		now := bytes.Clone(v.page(i))
		copy(v.page(i), old[i*PageSize:])
		if err := v.read(); err != nil {
			wantKind(t, err, KindCorrupt)
		}
		copy(v.page(i), now)
	}
}

// rewriteHalf changes every second chunk.
func (v *victim) rewriteHalf(seed byte) {
	f, err := openTestFile(v.t, v.store)
	must(v.t, err)
	for off := 0; off < len(v.want); off += 2 * chunkSize {
		n := copy(v.want[off:], pattern(seed, chunkSize))
		_, err := f.WriteAt(v.want[off:off+n], int64(off))
		must(v.t, err)
	}
	must(v.t, f.Sync())
	f.Wipe()
}

// Even a holder of the key cannot make a reader use much memory, or return what was not sealed.
func TestMalformedStreamsAreRefusedWithoutMuchMemory(t *testing.T) {
	for _, b := range badStreams(t) {
		t.Run(b.name, func(t *testing.T) {
			f, s := newTestFile(t)
			forgeChunk(t, f, 0, b.shape(), b.stream)
			f = reopened(t, f, s)
			p := make([]byte, chunkSize)
			_, _ = f.ReadAt(p, 0) // pools are filled
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			n, err := f.ReadAt(p, 0)
			runtime.ReadMemStats(&after)
			wantKind(t, err, KindCorrupt)
			if n != 0 || !allZero(p) {
				t.Errorf("%d bytes returned", n)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
				t.Errorf("%d bytes allocated", used)
			}
			_, err = f.ReadAt(p[:100], 5000)
			wantKind(t, err, KindCorrupt)
			_, err = f.WriteAt(p[:100], 5000)
			wantKind(t, err, KindCorrupt)
			wantKind(t, f.Verify(nil), KindCorrupt)
			must(t, f.Truncate(0)) // a damaged file can be emptied
		})
	}
}

func TestGoodForgedStreamIsRead(t *testing.T) {
	f, _ := newTestFile(t)
	want := pattern(3, chunkSize)
	b := badStream{stream: streamOf(frameOf(t, want))}
	forgeChunk(t, f, 0, b.shape(), b.stream)
	wantContent(t, f, want) // so that the refusals above are for their fault alone
}

func TestReadErrorInACompressedRunReturnsWhatIsGood(t *testing.T) {
	f, s := newCompressedFile(t)
	want := pattern(1, 5*chunkSize)
	writeSynced(t, f, want)
	for chunk := range 5 {
		page := f.rootEntry(uint64(chunk * chunkBlocks)).page
		if f.height > 0 {
			c := cursor{f: f}
			e, err := c.entry(uint64(chunk * chunkBlocks))
			must(t, err)
			page = e.page
		}
		s.b[page*PageSize] ^= 1
		p := make([]byte, len(want))
		n, err := f.ReadAt(p, 0)
		wantKind(t, err, KindCorrupt)
		if n != chunk*chunkSize || !bytes.Equal(p[:n], want[:n]) || !allZero(p[n:]) {
			t.Errorf("damage in chunk %d: %d bytes", chunk, n)
		}
		s.b[page*PageSize] ^= 1
	}
}

func TestUnknownFlagsAtCreationAreRefused(t *testing.T) {
	for _, flags := range []uint16{2, 3, 1 << 15} {
		_, err := CreateFile(optionsFor(t, &memStore{}), VolumeID{1}, FileID{2}, nil, flags)
		if KindOf(err) != KindUnsupported {
			t.Error(fmt.Sprint(flags), err)
		}
	}
}
