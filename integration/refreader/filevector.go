package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// entryLines are the entries that are no holes, as vectors write them.
func entryLines(list []byte) string {
	var lines []string
	for i := 0; i*entrySize < len(list); i++ {
		e := list[i*entrySize:]
		if e[5] == 2 {
			lines = append(lines, fmt.Sprintf("%d rest", i))
		} else if physical(e) != 0 {
			kind := []string{"", " stream"}[e[5]]
			lines = append(lines, fmt.Sprintf("%d %d %d %x %x%s", i, physical(e), binary.LittleEndian.Uint16(e[6:]), e[8:20], e[20:36], kind))
		}
	}
	return strings.Join(lines, "\n")
}

func checkRootPage(t *vector, _ *volume) error {
	r, _, _, err := readRoots(t.body)
	if err != nil {
		return t.compare(err)
	}
	key := t.hex("data-key")
	if !hmac.Equal(r.page[48:80], subkey(key, r.page[32:48], "commit")) {
		return t.compare(wrongKey)
	}
	f, err := loadRoot(t.body, key, r)
	if err != nil {
		return t.compare(err)
	}
	return t.compare(nil,
		"file-id", hex.EncodeToString(r.page[32:48]), "sequence", r.sequence, "revision", r.revision,
		"mount-id", binary.LittleEndian.Uint64(r.page[88:]), "slot-area", hex.EncodeToString(r.slotArea),
		"stat-record", hex.EncodeToString(r.page[120:156]), "size", f.size, "used", f.used, "end", f.end,
		"epoch", f.epoch, "messages", f.messages, "height", f.height, "inline", hex.EncodeToString(f.inline),
		"entry", entryLines(f.entries))
}

// page opens the body as the page that the vector's entry leads to.
func (t *vector) page(height int, index uint64) ([]byte, error) {
	if len(t.body) != pageSize {
		return nil, corrupt
	}
	return openPage(t.hex("data-key"), t.hex("file-id"), t.entry(), t.body, height, index)
}

// entry is the one that leads to the body.
func (t *vector) entry() []byte {
	entry := make([]byte, 6, entrySize)
	entry = binary.LittleEndian.AppendUint16(entry, uint16(t.number("epoch")))
	return append(append(entry, t.hex("nonce")...), t.hex("tag")...)
}

func checkChunkPage(t *vector, _ *volume) error {
	if len(t.body) != pageSize {
		return t.compare(corrupt)
	}
	c := &chunk{pages: int(t.number("pages")), blocks: int(t.number("blocks"))}
	p, err := openChunkPage(t.hex("data-key"), t.hex("file-id"), t.entry(), t.body, c, t.number("block"))
	return t.compare(err, "content-sha256", fmt.Sprintf("%x", sha256.Sum256(p)))
}

func checkTagPage(t *vector, _ *volume) error {
	p, err := t.page(int(t.number("height")), t.number("index"))
	if err != nil {
		return t.compare(err)
	}
	return t.compare(nil, "entry", entryLines(p[64:]))
}

func checkBlock(t *vector, _ *volume) error {
	p, err := t.page(0, t.number("block"))
	return t.compare(err, "content-sha256", fmt.Sprintf("%x", sha256.Sum256(p)))
}

func checkFile(t *vector, _ *volume) error {
	f, err := openFile(t.body, t.hex("data-key"), t.get("settled") == "true")
	if err != nil {
		return t.compare(err)
	}
	p, err := f.content()
	return t.compare(err, "size", len(p), "content-sha256", fmt.Sprintf("%x", sha256.Sum256(p)))
}
