package envelope

import (
	"bytes"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"testing"
)

// fuzzFile drives a file and a plain []byte with the same operations.
type fuzzFile struct {
	t     *testing.T
	store *memStore
	file  *File
	want  []byte // content
	saved []byte // content at the last commit
	area  int    // length of the slot area
}

func (z *fuzzFile) options() FileOptions {
	o := optionsFor(z.t, z.store)
	o.limits = limits{dirtyBlocks: 20, dirtyNodes: 5, epochMessages: 100}
	return o
}

// offset maps 16 bits to an offset, near the start or near one of the edges where the tree grows.
func (z *fuzzFile) offset(n uint16) int64 {
	edges := []int64{0, MaxInline, 64 * PageSize, 7 * PageSize, 0, 7 * 112 * PageSize}
	edge := edges[int(n>>8)%len(edges)]
	return max(0, edge+int64(int8(n))*97)
}

func (z *fuzzFile) do(code byte, a, b uint16) {
	switch {
	case code >= 252:
		must(z.t, z.file.SetCompress(a%2 == 0))
		return
	case code >= 246:
		z.write(z.offset(a)&^(chunkSize-1), int(b)*4)
		return
	}
	switch code % 10 {
	case 0, 1:
		z.write(z.offset(a), int(b)%9000)
	case 2:
		z.write(z.offset(a)&^(PageSize-1), int(b)%300_000)
	case 3:
		must(z.t, z.file.Truncate(z.offset(a)))
		z.resize(z.offset(a))
	case 4:
		z.punch(z.offset(a), int64(b)*13)
	case 5:
		z.read(z.offset(a), int(b)*5)
	case 6:
		must(z.t, z.file.Commit())
		z.saved = bytes.Clone(z.want)
	case 7:
		must(z.t, z.file.Sync())
		z.saved = bytes.Clone(z.want)
	case 8:
		z.area = int(a) % (MaxSlotArea + 1)
		must(z.t, z.file.SetSlotArea(make([]byte, z.area)))
	case 9:
		z.reopen(a)
	}
}

func (z *fuzzFile) resize(n int64) {
	if n <= int64(len(z.want)) {
		z.want = z.want[:n]
		return
	}
	z.want = append(z.want, make([]byte, n-int64(len(z.want)))...)
}

func (z *fuzzFile) write(off int64, n int) {
	p := pattern(byte(off)+byte(n), n)
	if got, err := z.file.WriteAt(p, off); got != n || err != nil {
		z.t.Fatalf("write %d+%d: %d, %v", off, n, got, err)
	}
	if end := off + int64(n); n > 0 && end > int64(len(z.want)) {
		z.resize(end)
	}
	if n > 0 {
		copy(z.want[off:], p)
	}
}

func (z *fuzzFile) punch(off, n int64) {
	must(z.t, z.file.Punch(off, n))
	if lo, hi := min(off, int64(len(z.want))), min(off+n, int64(len(z.want))); lo < hi {
		clear(z.want[lo:hi])
	}
}

func (z *fuzzFile) read(off int64, n int) {
	p := bytes.Repeat([]byte{0xee}, n+8)
	got, err := z.file.ReadAt(p[:n:n+8], off)
	want := z.want[min(off, int64(len(z.want))):]
	want = want[:min(n, len(want))]
	if err != nil || !bytes.Equal(p[:got], want) {
		z.t.Fatalf("read %d+%d: %d bytes, want %d, %v", off, n, got, len(want), err)
	}
	if !bytes.Equal(p[n:], bytes.Repeat([]byte{0xee}, 8)) {
		z.t.Fatal("read wrote beyond the length of its buffer")
	}
}

// reopen commits, sometimes, and opens the file again with more or less knowledge.
func (z *fuzzFile) reopen(how uint16) {
	if how%4 > 0 {
		must(z.t, z.file.Commit())
		z.saved = bytes.Clone(z.want)
	}
	_, durable := z.file.State()
	z.file.Wipe()
	r, err := ReadRoots(z.store)
	must(z.t, err)
	t := []Trust{{}, {Settled: true}, {Settled: true, DurableSeq: durable}, {Settled: true, DurableSeq: durable, Fresh: durable == 0}}[how>>2%4]
	z.file, err = OpenFile(z.options(), r, t)
	must(z.t, err)
	z.want = bytes.Clone(z.saved)
	z.area = len(z.file.SlotArea())
}

// holes checks SeekData and SeekHole against the content: what they call a hole must be zeros, and
// they must make progress.
func (z *fuzzFile) holes() {
	for off := int64(0); off < int64(len(z.want)); {
		data, err := z.file.SeekData(off)
		if KindOf(err) == KindNoData {
			data = int64(len(z.want))
		} else {
			must(z.t, err)
		}
		if data < off || data > int64(len(z.want)) || !allZero(z.want[off:data]) {
			z.t.Fatalf("hole %d to %d is not zero", off, data)
		}
		if data == int64(len(z.want)) {
			return
		}
		hole, err := z.file.SeekHole(data)
		must(z.t, err)
		if hole <= data {
			z.t.Fatalf("hole at %d, data at %d", hole, data)
		}
		off = hole
	}
}

// FuzzEngine runs any sequence of operations, five bytes each, against a plain []byte.
func FuzzEngine(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x10\x07\x00\x00\x00\x00\x03\x00\x05\x00\x00\x09\x00\x05\x00\x00"))
	f.Add([]byte("\x02\x03\x00\xff\xff\x06\x00\x00\x00\x00\x04\x01\x00\x80\x00\x08\xff\x0d\x00\x00\x07\x00\x00\x00\x00\x09\x09\x00\x00\x00"))
	f.Add([]byte("\x02\x05\x00\xff\xff\x08\x00\x0e\x00\x00\x06\x00\x00\x00\x00\x03\x01\x40\x00\x00\x07\x00\x00\x00\x00\x09\x01\x00\x00\x00"))
	f.Add([]byte("\xff\x00\x00\x00\x00\xf6\x00\x00\xff\xff\x07\x00\x00\x00\x00\x00\x00\x10\x00\x20\x06\x00\x00\x00\x00\x04\x00\x40\x10\x00\x09\x00\x05\x00\x00"))
	f.Fuzz(runScript)
}

// runScript does what the script says to an empty file and compares.
func runScript(t *testing.T, script []byte) {
	z := &fuzzFile{t: t, store: &memStore{}}
	var err error
	z.file, err = CreateFile(z.options(), VolumeID{1}, FileID{2}, nil, 0)
	must(t, err)
	defer func() { z.file.Wipe() }()
	for i := 0; i+5 <= len(script) && i < 5*60; i += 5 {
		z.do(script[i], binary.BigEndian.Uint16(script[i+1:]), binary.BigEndian.Uint16(script[i+3:]))
	}
	wantContent(t, z.file, z.want)
	z.holes()
	z.reopen(1)
	wantContent(t, z.file, z.want)
	must(t, z.file.Verify(nil))
	z.holes()
}

// Random scripts on files that begin compressed, as many as fit into a second or two.
func TestCompressedFileAgreesWithPlainMemory(t *testing.T) {
	seeds := byte(250)
	if testing.Short() {
		seeds = 60
	}
	for seed := range seeds {
		r := mathrand.NewChaCha8([32]byte{seed})
		script := make([]byte, 5*(5+seed%56))
		_, _ = r.Read(script)
		script[0], script[2] = 0xff, 0 // compress
		for i := 5; i < len(script); i += 5 {
			if r.Uint64()%8 == 0 {
				script[i] = 246 // whole chunks
			}
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runScript(t, script) })
	}
}

// FuzzReadRoots feeds any bytes to the header parser, as they are and with the checksums made right,
// and opens what parses with a key.
func FuzzReadRoots(f *testing.F) {
	s := &memStore{}
	o := FileOptions{Store: s, Key: dataKeyOf(f, 7), Stat: zeroStat{}}
	file, err := CreateFile(o, VolumeID{1}, FileID{2}, []byte("slots"), 0)
	must(f, err)
	f.Add(bytes.Clone(s.b))
	writeSynced(f, file, pattern(1, 5000))
	writeSynced(f, file, pattern(2, 5000))
	file.Wipe()
	f.Add(bytes.Clone(s.b[:2*PageSize]))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		for _, fix := range []bool{false, true} {
			for i := 0; fix && i < 2 && (i+1)*PageSize <= len(b); i++ {
				reseal(b[i*PageSize : (i+1)*PageSize])
			}
			tryRoots(t, b)
		}
	})
}

// tryRoots uses a store with unknown root pages in every way; nothing may panic.
func tryRoots(t *testing.T, b []byte) {
	s := &memStore{b: b}
	r, err := ReadRoots(s)
	if err != nil {
		if k := KindOf(err); k != KindTruncated && k != KindCorrupt && k != KindUnsupported {
			t.Fatalf("unexpected kind: %v", err)
		}
		return
	}
	h := r.Newest()
	if len(h.SlotArea) > MaxSlotArea || len(h.SlotArea) > h.SlotSpace {
		t.Fatalf("slot area of %d bytes in %d", len(h.SlotArea), h.SlotSpace)
	}
	for _, trust := range []Trust{{}, {Settled: r.Settled(func(uint64) bool { return false })}} {
		file, err := OpenFile(FileOptions{Store: s, Key: dataKeyOf(t, 7), Stat: zeroStat{}}, r, trust)
		if err != nil {
			continue
		}
		_, _ = file.ReadAt(make([]byte, 10000), 0)
		_ = file.Verify(nil)
		file.Wipe()
	}
	area := append(h.SlotArea, 1)
	if err := RewriteSlots(s, r, area); err == nil && !bytes.Equal(r.Newest().SlotArea, area) {
		t.Fatal("slots were not rewritten")
	}
}

// FuzzRootBody feeds any plaintext to the parser of root bodies: what it accepts encodes back to the
// same bytes.
func FuzzRootBody(f *testing.F) {
	for _, b := range []*body{
		{inode: inode{end: firstPage, kind: bodyInline}},
		{inode: inode{size: 3, end: firstPage, kind: bodyInline, count: 3}, inline: []byte("abc")},
		{inode: inode{size: 5000, used: 2, end: 9, kind: bodyTree, height: 1, count: 2}, entries: []entry{{}, {page: 3, epoch: 1}}},
	} {
		p := make([]byte, b.length())
		b.put(p)
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := parseBody(p)
		if err != nil {
			return
		}
		again := make([]byte, b.length())
		b.put(again)
		if !bytes.Equal(again, p) {
			t.Fatalf("%x encodes back as %x", p, again)
		}
	})
}

// FuzzTagPage feeds any plaintext to the parser of tag pages: the entries of what it accepts encode
// back to the same bytes.
func FuzzTagPage(f *testing.F) {
	n := newNode(nodeID{1, 3})
	n.setEntry(5, &entry{page: 77, epoch: 2, nonce: [nonceSize]byte{1}, tag: [tagSize]byte{2}})
	f.Add(uint8(1), uint64(3), bytes.Clone(n.page[:]))
	f.Add(uint8(2), uint64(0), make([]byte, PageSize))
	f.Fuzz(func(t *testing.T, height uint8, index uint64, p []byte) {
		n := &node{id: nodeID{height, index}}
		copy(n.page[:], p)
		if n.check() != nil {
			return
		}
		before := n.page
		for i := range fanOut {
			e := n.entry(i)
			if e.hole() != n.isHole(i) || e.hole() && e != (entry{}) {
				t.Fatalf("entry %d: %+v", i, e)
			}
			n.setEntry(i, &e)
		}
		if n.page != before {
			t.Fatal("entries encode back differently")
		}
	})
}

// FuzzUnpack feeds any stream to the decompressor: what it accepts has exactly the length asked for, and
// nothing beyond it is touched.
func FuzzUnpack(f *testing.F) {
	for _, n := range []int{2, 5, chunkBlocks} {
		f.Add(uint8(n), streamOf(frameOf(f, pattern(1, n*PageSize))))
	}
	for _, b := range badStreams(f) {
		f.Add(uint8(chunkBlocks), b.stream)
	}
	u := newUnpacker()
	f.Fuzz(func(t *testing.T, blocks uint8, stream []byte) {
		s := shape{blocks: 2 + blocks%(chunkBlocks-1)}
		stream = append(bytes.Clone(stream), make([]byte, (PageSize-len(stream)%PageSize)%PageSize)...)
		if len(stream) == 0 || len(stream) >= s.bytes() {
			return
		}
		p := bytes.Repeat([]byte{0xee}, s.bytes()+64)
		err := u.unpack(p[:s.bytes()], stream)
		if !bytes.Equal(p[s.bytes():], bytes.Repeat([]byte{0xee}, 64)) {
			t.Fatalf("wrote beyond the content: %v", err)
		}
	})
}
