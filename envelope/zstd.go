package envelope

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// streamHeader is the length of the length in front of a frame, in bytes.
	streamHeader = 4
	// frameHeader is the length of the only header that frames have, in bytes.
	frameHeader = 7
	// streamRoom is what compressing a chunk may need before it turns out not to pay, in bytes.
	streamRoom = chunkSize + 16<<10
)

// streamBuffer holds a compressed chunk: length u32, one zstd frame (RFC 8878), zeros to a whole page.
type streamBuffer struct{ p [streamRoom]byte }

// packer compresses. What zstd keeps of the plaintext is overwritten before it is used again.
type packer struct {
	zstd   *zstd.Encoder
	plain  [chunkSize]byte
	filler [chunkSize]byte // can't be compressed, so all of it goes where literals are kept
	most   int             // longest content since the last wipe
}

// unpacker decompresses.
type unpacker struct {
	zstd   *zstd.Decoder
	filler []byte // a frame of literals only
	out    [chunkSize]byte
}

var (
	streamPool   = sync.Pool{New: func() any { return new(streamBuffer) }}
	packerPool   = sync.Pool{New: func() any { return newPacker() }}
	unpackerPool = sync.Pool{New: func() any { return newUnpacker() }}
)

func newStreamBuffer() *streamBuffer { return streamPool.Get().(*streamBuffer) }

// release wipes the buffer and returns it to the pool.
func (b *streamBuffer) release() {
	clear(b.p[:])
	streamPool.Put(b)
}

func newPacker() *packer {
	p := &packer{zstd: newEncoder()}
	_, _ = rand.Read(p.filler[:]) // never fails
	p.scrub(chunkSize)
	return p
}

// newEncoder makes an encoder for whole chunks: single segment frames without a checksum (the tags of
// the pages are one).
func newEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(chunkSize), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true), zstd.WithLowerEncoderMem(true),
		zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		panic("envelope: zstd refuses its options: " + err.Error())
	}
	return e
}

func newUnpacker() *unpacker {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(chunkSize), zstd.WithDecoderMaxWindow(chunkSize), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic("envelope: zstd refuses its options: " + err.Error())
	}
	u := &unpacker{zstd: d}
	_, _ = rand.Read(u.out[:]) // never fails
	for i := range u.out {     // no repetitions, but few values: literals that are entropy coded
		u.out[i] &= 15
	}
	u.filler = newEncoder().EncodeAll(u.out[:], nil)
	u.scrub()
	return u
}

// scrub overwrites what zstd keeps of contents of up to n bytes. The first time it makes the buffers as
// large as they will ever be, so that none is left behind when they would grow.
func (p *packer) scrub(n int) {
	s := newStreamBuffer()
	p.zstd.EncodeAll(p.filler[:n], s.p[:0])
	s.release()
}

// scrub is the same for decompression.
func (u *unpacker) scrub() { _, _ = u.zstd.DecodeAll(u.filler, u.out[:0]) }

// release wipes what was compressed and returns p to the pool.
func (p *packer) release() {
	clear(p.plain[:p.most])
	p.scrub(p.most)
	p.most = 0
	packerPool.Put(p)
}

// release wipes what was decompressed and returns u to the pool.
func (u *unpacker) release() {
	u.scrub()
	unpackerPool.Put(u)
}

// pack compresses the first n blocks of p.plain into s and returns the shape; zero if it does not pay.
func (p *packer) pack(n int, s *streamBuffer) shape {
	p.most = max(p.most, n*PageSize)
	frame := p.zstd.EncodeAll(p.plain[:n*PageSize], s.p[streamHeader:streamHeader])
	used := streamHeader + len(frame)
	pages := (used + PageSize - 1) / PageSize
	if pages > n {
		return shape{}
	}
	out := shape{pages: uint8(pages), blocks: uint8(n)}
	if !out.pays() {
		return shape{}
	}
	binary.LittleEndian.PutUint32(s.p[:], uint32(len(frame)))
	clear(s.p[used : pages*PageSize])
	return out
}

var errStream = errors.New("compressed chunk is malformed")

// unpack decompresses a whole stream, which has been authenticated, into dst, whose length is that of
// the content. Frames that a writer does not produce are refused before anything is decompressed.
func (u *unpacker) unpack(dst, stream []byte) error {
	n := int(min(binary.LittleEndian.Uint32(stream), chunkSize))
	end := streamHeader + n
	if end > len(stream) || end <= len(stream)-PageSize || !allZero(stream[end:]) {
		return errStream
	}
	frame := stream[streamHeader:end]
	if !checkFrame(frame, len(dst)) {
		return errStream
	}
	out, err := u.zstd.DecodeAll(frame, dst[:0:len(dst)])
	if err != nil || len(out) != len(dst) || &out[0] != &dst[0] {
		return errStream
	}
	return nil
}

// checkFrame reports whether b is exactly one frame of a content of n bytes (RFC 8878 section 3.1.1),
// with a single segment, without dictionary and checksum.
func checkFrame(b []byte, n int) bool {
	header := [frameHeader]byte{0x28, 0xb5, 0x2f, 0xfd, 0x60}
	binary.LittleEndian.PutUint16(header[5:], uint16(n-256))
	if len(b) < frameHeader || [frameHeader]byte(b) != header {
		return false
	}
	for b = b[frameHeader:]; len(b) >= 3; {
		block := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		size := int(block >> 3)
		if block>>1&3 == 1 {
			size = 1 // one byte, repeated
		}
		if size > len(b)-3 {
			return false
		}
		if b = b[3+size:]; block&1 == 1 {
			return len(b) == 0
		}
	}
	return false
}
