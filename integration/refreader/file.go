package main

import (
	"bytes"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	pageSize   = 4096
	headerSize = 168
	bodyEnd    = pageSize - 16
	entrySize  = 36
	fanOut     = 112
	maxContent = 1 << 30
)

// root is one parsed root page.
type root struct {
	page     []byte
	sequence uint64
	revision uint32
	bodyLen  int
	slotArea []byte
}

// file is an opened encrypted file.
type file struct {
	image []byte
	key   []byte
	root  *root

	size, used, end, messages uint64
	epoch                     uint32

	inline  []byte
	height  int
	entries []byte
}

// parseRoot reads the public header of a root page.
func parseRoot(p []byte) (*root, error) {
	le := binary.LittleEndian
	if string(p[:7]) != "KMSFSF\x00" {
		return nil, corrupt
	}
	if p[7] != 1 {
		return nil, unsupported
	}
	blank := bytes.Clone(p)
	clear(blank[160:164])
	if crc32.Checksum(blank, crc32.MakeTable(crc32.Castagnoli)) != le.Uint32(p[160:]) {
		return nil, corrupt
	}
	if le.Uint16(p[8:]) != 1 || le.Uint16(p[10:]) > 1 {
		return nil, unsupported
	}
	area, bodyLen := int(le.Uint16(p[12:])), int(le.Uint16(p[14:]))
	r := &root{page: p, sequence: le.Uint64(p[80:]), revision: le.Uint32(p[156:]), bodyLen: bodyLen}
	if bodyLen < 48 || area > 3584 || headerSize+area+bodyLen > bodyEnd || r.sequence == 0 || r.sequence > 1<<62 ||
		!zeros(p[164:168]) || !zeros(p[headerSize+area:bodyEnd-bodyLen]) {
		return nil, corrupt
	}
	r.slotArea = p[headerSize : headerSize+area]
	return r, nil
}

func zeros(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// readRoots returns the newest root page and the other, nil where a page is none, and whether the
// other is a damaged page that claims to be later.
func readRoots(image []byte) (newest, other *root, damaged bool, err error) {
	if len(image) < pageSize {
		return nil, nil, false, truncated
	}
	pages := make([]byte, 2*pageSize)
	copy(pages, image)
	var roots [2]*root
	err = truncated
	for i := range roots {
		p := pages[i*pageSize : (i+1)*pageSize]
		if zeros(p) {
			continue
		}
		var e error
		if roots[i], e = parseRoot(p); e != nil && err != unsupported {
			err = e
		}
	}
	a, b, second := roots[0], roots[1], 1
	if a == nil || b != nil && (b.sequence > a.sequence || b.sequence == a.sequence && b.revision > a.revision) {
		a, b, second = b, a, 0
	}
	if a == nil {
		return nil, nil, false, err
	}
	p := pages[second*pageSize : (second+1)*pageSize]
	damaged = b == nil && string(p[:7]) == "KMSFSF\x00" && binary.LittleEndian.Uint64(p[80:]) > a.sequence
	return a, b, damaged, nil
}

// openFile opens a backing file with its data key. A settled file has but one answer; on any other
// the newest root whose tree authenticates is taken.
func openFile(image, key []byte, settled bool) (*file, error) {
	newest, other, damaged, err := readRoots(image)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(newest.page[48:80], subkey(key, newest.page[32:48], "commit")) {
		return nil, wrongKey
	}
	f, err := loadRoot(image, key, newest)
	if settled {
		if damaged {
			err = corrupt
		}
		return f, err
	}
	if err == nil && (other == nil || other.sequence == newest.sequence) {
		return f, nil
	}
	if err == nil {
		if _, err = f.content(); err == nil {
			return f, nil
		}
	}
	if other == nil || !bytes.Equal(other.page[16:80], newest.page[16:80]) {
		return f, err
	}
	old, oldErr := loadRoot(image, key, other)
	switch {
	case oldErr == nil:
		return old, nil
	case f != nil: // nothing to fall back to
		return f, nil
	}
	return nil, err
}

// loadRoot opens the body of a root page.
func loadRoot(image, key []byte, r *root) (*file, error) {
	p := r.page
	aad := bytes.Clone(p[:headerSize])
	clear(aad[12:14])
	clear(aad[156:164])
	k := subkey(key, p[32:48], "root", p[96:120]...)
	b, err := open(k, make([]byte, 12), p[bodyEnd-r.bodyLen:], aad)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	f := &file{
		image: image, key: key, root: r, size: le.Uint64(b), used: le.Uint64(b[8:]), end: le.Uint64(b[16:]),
		epoch: le.Uint32(b[24:]), messages: le.Uint64(b[32:]), height: int(b[40]),
	}
	count, rest := int(le.Uint16(b[42:])), b[48:]
	if f.size > 1<<44 || f.end < 2 || f.end > 1<<40 || f.used > f.end-2 || f.epoch > 65535 || f.height > 5 ||
		!zeros(b[28:32]) || !zeros(b[44:48]) {
		return nil, corrupt
	}
	switch {
	case b[41] == 0 && count == len(rest) && f.size == uint64(count) && count <= 2560:
		f.inline = rest
	case b[41] == 1 && count*entrySize == len(rest) && count <= 64:
		f.entries = rest
		return f, checkEntries(rest, f.height == 0)
	default:
		return nil, corrupt
	}
	return f, nil
}

// checkEntries refuses what no list of entries is. Chunks are compressed only where entries name blocks.
func checkEntries(list []byte, blocks bool) error {
	for i := 0; i < len(list); i += 16 * entrySize {
		c := chunkOf(list[i:min(i+16*entrySize, len(list))])
		if c == nil || c.blocks > 0 && !blocks {
			return corrupt
		}
	}
	return nil
}

// physical returns the page number of an entry.
func physical(entry []byte) uint64 {
	return binary.LittleEndian.Uint64(entry) & (1<<40 - 1)
}

// content returns the whole plaintext.
func (f *file) content() ([]byte, error) {
	if f.size > maxContent {
		return nil, fmt.Errorf("%d bytes are too many for this reader", f.size)
	}
	if f.inline != nil || f.size == 0 {
		return f.inline, nil
	}
	out := make([]byte, (f.size+pageSize-1)/pageSize*pageSize)
	if err := f.readList(out, f.entries, f.height, 0); err != nil {
		return nil, err
	}
	return out[:f.size], nil
}

// readList reads what the entries of a list lead to, the first of which has the given index.
func (f *file) readList(out, list []byte, height int, index uint64) error {
	for i := 0; i*entrySize < len(list); i++ {
		rest := list[i*entrySize:]
		if c := chunkOf(rest[:min(16*entrySize, len(rest))]); height == 0 && i%16 == 0 && c.blocks > 0 {
			if err := f.readChunk(out, c, rest, index+uint64(i)); err != nil {
				return err
			}
		}
		if rest[5] != 0 {
			continue
		}
		if err := f.read(out, rest, height, index+uint64(i)); err != nil {
			return err
		}
	}
	return nil
}

// read opens the page of an entry, and what is below it, into out.
func (f *file) read(out, entry []byte, height int, index uint64) error {
	page := physical(entry)
	if page == 0 {
		return nil
	}
	if (page+1)*pageSize > uint64(len(f.image)) {
		return corrupt
	}
	sealed := f.image[page*pageSize : (page+1)*pageSize]
	plain, err := openPage(f.key, f.root.page[32:48], entry, sealed, height, index)
	if err != nil {
		return err
	}
	if height > 0 {
		return f.readList(out, plain[64:], height-1, index*fanOut)
	}
	if index*pageSize < uint64(len(out)) {
		copy(out[index*pageSize:], plain)
	}
	return nil
}

// openPage opens a data block (height 0) or tag page with the epoch, nonce and tag of its entry.
func openPage(key, file, entry, sealed []byte, height int, index uint64) ([]byte, error) {
	purpose, aad := "block", append([]byte("block"), 0)
	if height > 0 {
		purpose, aad = "tree", append([]byte("tree\x00"), byte(height))
	}
	aad = binary.LittleEndian.AppendUint64(aad, index)
	k := subkey(key, file, purpose, entry[6], entry[7], 0, 0)
	plain, err := open(k, entry[8:20], append(bytes.Clone(sealed), entry[20:36]...), aad)
	if err != nil || height == 0 {
		return plain, err
	}
	le := binary.LittleEndian
	if string(plain[:4]) != "KTAG" || int(plain[4]) != height || !zeros(plain[5:8]) || le.Uint64(plain[8:]) != index || !zeros(plain[24:64]) {
		return nil, corrupt
	}
	return plain, checkEntries(plain[64:], height == 1)
}
