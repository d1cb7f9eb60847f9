package envelope

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

const (
	// inodeSize is the length of the inode record, in bytes.
	inodeSize = 48
	// maxRootEntries is the largest number of entries in a root page.
	maxRootEntries = 64
)

// Kinds of a root body.
const (
	bodyInline uint8 = 0
	bodyTree   uint8 = 1
)

// inode is the sealed record of a root page.
type inode struct {
	size     uint64 // plaintext bytes
	used     uint64 // pages that the tree names
	end      uint64 // next physical page to append
	epoch    uint32 // of the subkeys for new messages
	messages uint64 // sealed under that epoch
	height   uint8  // of the root's entries: 0 = data blocks
	kind     uint8
	count    uint16 // inline bytes or entries that follow
}

// body is the plaintext of a root page's sealed part.
type body struct {
	inode
	inline  []byte
	entries []entry
}

// rootEntryLimit returns how many entries fit beside a slot area of n bytes.
func rootEntryLimit(n int) int {
	return min(maxRootEntries, (bodyEnd-headerSize-inodeSize-n)/entrySize)
}

// inlineLimit returns how many inline bytes fit beside a slot area of n bytes.
func inlineLimit(n int) int {
	return min(MaxInline, bodyEnd-headerSize-inodeSize-n)
}

// length returns the encoded length of b, in bytes.
func (b *body) length() int {
	return inodeSize + len(b.inline) + len(b.entries)*entrySize
}

// put encodes b into dst, which is b.length() long.
func (b *body) put(dst []byte) {
	le := binary.LittleEndian
	le.PutUint64(dst[0:], b.size)
	le.PutUint64(dst[8:], b.used)
	le.PutUint64(dst[16:], b.end)
	le.PutUint32(dst[24:], b.epoch)
	le.PutUint32(dst[28:], 0)
	le.PutUint64(dst[32:], b.messages)
	dst[40] = b.height
	dst[41] = b.kind
	le.PutUint16(dst[42:], b.count)
	le.PutUint32(dst[44:], 0)
	rest := dst[inodeSize:]
	copy(rest, b.inline)
	for i := range b.entries {
		b.entries[i].put(rest[i*entrySize : (i+1)*entrySize])
	}
}

var errBody = errors.New("inode record out of range")

// parseBody decodes and checks the plaintext of a root page's sealed part.
func parseBody(p []byte) (*body, error) {
	if len(p) < inodeSize {
		return nil, errBody
	}
	le := binary.LittleEndian
	b := &body{inode: inode{
		size: le.Uint64(p[0:]), used: le.Uint64(p[8:]), end: le.Uint64(p[16:]),
		epoch: le.Uint32(p[24:]), messages: le.Uint64(p[32:]),
		height: p[40], kind: p[41], count: le.Uint16(p[42:]),
	}}
	if b.size > MaxFileSize || b.end < firstPage || b.end > 1<<40 || b.used > b.end-firstPage ||
		b.epoch > 1<<16-1 || b.height > maxHeight || !allZero(p[28:32]) || !allZero(p[44:48]) {
		return nil, errBody
	}
	return b, b.parseRest(p[inodeSize:])
}

// parseRest decodes the inline data or the entries.
func (b *body) parseRest(rest []byte) error {
	switch {
	case b.kind == bodyInline && int(b.count) == len(rest) && b.size == uint64(len(rest)) && len(rest) <= MaxInline:
		b.inline = append([]byte(nil), rest...)
		return nil
	case b.kind == bodyTree && int(b.count)*entrySize == len(rest) && b.count <= maxRootEntries:
		if err := checkEntries(rest, b.height == 0); err != nil {
			return err
		}
		b.entries = make([]entry, b.count)
		for i := range b.entries {
			b.entries[i] = getEntry(rest[i*entrySize : (i+1)*entrySize])
		}
		return nil
	}
	return errBody
}

// sealRoot encodes h and b into page. The body's key is derived from h.rootSalt, which must be
// fresh: it seals this one message under the zero nonce.
func sealRoot(page *[PageSize]byte, keys *keyTree, h *Header, b *body) {
	clear(page[:])
	h.bodyLen = b.length()
	h.put(page)
	aad := rootAAD(page)
	plain := make([]byte, h.bodyLen, h.bodyLen+tagSize)
	b.put(plain)
	withRootKey(keys, h, func(nonce []byte, a cipher.AEAD) {
		sealed := a.Seal(plain[:0], nonce, plain, aad[:])
		copy(page[bodyEnd-h.bodyLen:], sealed)
	})
	sealChecksum(page)
}

var errRootAuth = errors.New("root page fails authentication")

// openRoot authenticates and decodes the body of a root page whose header is h.
func openRoot(page *[PageSize]byte, keys *keyTree, h *Header) (*body, error) {
	aad := rootAAD(page)
	plain := make([]byte, 0, h.bodyLen)
	var err error
	withRootKey(keys, h, func(nonce []byte, a cipher.AEAD) {
		plain, err = a.Open(plain, nonce, page[bodyEnd-h.bodyLen:], aad[:])
	})
	if err != nil {
		return nil, errRootAuth
	}
	b, err := parseBody(plain)
	clear(plain)
	return b, err
}

// withRootKey calls use with the cipher of one root page and wipes it afterwards.
func withRootKey(keys *keyTree, h *Header, use func(nonce []byte, a cipher.AEAD)) {
	var key [KeySize]byte
	var nonce [nonceSize]byte
	keys.derive(&key, purposeRoot, h.rootSalt[:])
	a := newAEAD(&key)
	use(nonce[:], a)
	wipeAEAD(a)
	clear(key[:])
	burnStack()
}

// checkCommitment compares the header's key commitment with that of keys.
func (h *Header) checkCommitment(keys *keyTree) bool {
	var c [KeySize]byte
	keys.derive(&c, purposeCommit, nil)
	return subtle.ConstantTimeCompare(c[:], h.Commitment[:]) == 1
}
