package main

import (
	"bytes"
	"encoding/binary"

	"github.com/klauspost/compress/zstd"
)

// chunk says how the blocks of a chunk are stored: so many of them in so many pages of a stream, the
// rest for themselves.
type chunk struct{ pages, blocks int }

// chunkOf reads the entries of a chunk, or of the part of one that the list holds; nil if they are wrong.
func chunkOf(list []byte) *chunk {
	c := &chunk{}
	for i := 0; i*entrySize < len(list); i++ {
		e := list[i*entrySize:][:entrySize]
		switch {
		case e[5] == 1 && c.pages == i && physical(e) >= 2:
			c.pages, c.blocks = i+1, i+1
		case e[5] == 2 && c.blocks == i && c.pages > 0 && zeros(e[:5]) && zeros(e[6:]):
			c.blocks = i + 1
		case zeros(e):
		case e[5] == 0 && physical(e) >= 2 && c.blocks == 0:
		default:
			return nil
		}
	}
	if c.blocks > 0 && (c.blocks-c.pages)*8 < c.blocks || c.blocks > 0 && c.blocks == c.pages {
		return nil
	}
	return c
}

// readChunk opens the stream of a compressed chunk that begins with block first, and puts its content
// into out.
func (f *file) readChunk(out []byte, c *chunk, list []byte, first uint64) error {
	var stream []byte
	for i := range c.pages {
		entry := list[i*entrySize:]
		page := physical(entry)
		if (page+1)*pageSize > uint64(len(f.image)) {
			return corrupt
		}
		plain, err := openChunkPage(f.key, f.root.page[32:48], entry, f.image[page*pageSize:(page+1)*pageSize], c, first+uint64(i))
		if err != nil {
			return err
		}
		stream = append(stream, plain...)
	}
	content, err := decompress(stream, c.blocks*pageSize)
	if err != nil {
		return err
	}
	if first*pageSize < uint64(len(out)) {
		copy(out[first*pageSize:], content)
	}
	return nil
}

// openChunkPage opens one page of a stream.
func openChunkPage(key, file, entry, sealed []byte, c *chunk, block uint64) ([]byte, error) {
	aad := append([]byte("chunk"), byte(c.pages), byte(c.blocks))
	aad = binary.LittleEndian.AppendUint64(aad, block)
	k := subkey(key, file, "block", entry[6], entry[7], 0, 0)
	return open(k, entry[8:20], append(bytes.Clone(sealed), entry[20:36]...), aad)
}

// decompress returns the content of a stream, which has n bytes.
func decompress(stream []byte, n int) ([]byte, error) {
	end := uint64(binary.LittleEndian.Uint32(stream)) + 4
	if end > uint64(len(stream)) || end <= uint64(len(stream)-pageSize) || !zeros(stream[end:]) {
		return nil, corrupt
	}
	frame := stream[4:end]
	head := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x60, byte(n - 256), byte((n - 256) >> 8)}
	if !bytes.HasPrefix(frame, head) || !isOneFrame(frame[len(head):]) {
		return nil, corrupt
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<10))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	content, err := d.DecodeAll(frame, nil)
	if err != nil || len(content) != n {
		return nil, corrupt
	}
	return content, nil
}

// isOneFrame walks the blocks of a frame: the last one ends it.
func isOneFrame(blocks []byte) bool {
	for len(blocks) >= 3 {
		head := int(blocks[0]) | int(blocks[1])<<8 | int(blocks[2])<<16
		size := head >> 3
		if head>>1&3 == 1 {
			size = 1
		}
		if len(blocks) < 3+size {
			return false
		}
		blocks = blocks[3+size:]
		if head&1 == 1 {
			return len(blocks) == 0
		}
	}
	return false
}
