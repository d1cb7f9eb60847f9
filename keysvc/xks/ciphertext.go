package xks

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// Sizes of a ciphertext's parts, in bytes, as the specification limits them.
const (
	maxMetadata = 20
	shortIV     = 12
	longIV      = 16
	tagSize     = 16
)

// check refuses parts of a wrong length.
func (c *Ciphertext) check(plaintext int) error {
	if len(c.Text) != plaintext || len(c.Metadata) > maxMetadata || len(c.IV) != shortIV && len(c.IV) != longIV || len(c.Tag) != tagSize {
		return fmt.Errorf("%d bytes of ciphertext for %d of plaintext, %d of metadata, %d of IV, %d of tag",
			len(c.Text), plaintext, len(c.Metadata), len(c.IV), len(c.Tag))
	}
	return nil
}

// Digest is the ciphertext data integrity value (CDIV, Appendix C): SHA-256 of the
// additional authenticated data, the metadata, the IV, the ciphertext and the tag.
func (c *Ciphertext) Digest(aad []byte) []byte {
	h := sha256.New()
	for _, part := range [][]byte{aad, c.Metadata, c.IV, c.Text, c.Tag} {
		h.Write(part)
	}
	return h.Sum(nil)
}

// Append appends the ciphertext as one string of bytes:
//
//	length of the metadata (1) | metadata | length of the IV (1) | IV | tag (16) | ciphertext
func (c *Ciphertext) Append(out []byte) []byte {
	out = append(append(out, byte(len(c.Metadata))), c.Metadata...)
	out = append(append(out, byte(len(c.IV))), c.IV...)
	return append(append(out, c.Tag...), c.Text...)
}

// ParseCiphertext reads what Append wrote. The parts alias b.
func ParseCiphertext(b []byte) (*Ciphertext, error) {
	var c Ciphertext
	var ok bool
	if c.Metadata, b, ok = counted(b); !ok {
		return nil, errTruncated
	}
	if c.IV, b, ok = counted(b); !ok || len(b) < tagSize {
		return nil, errTruncated
	}
	c.Tag, c.Text = b[:tagSize], b[tagSize:]
	if len(c.Text) == 0 {
		return nil, errTruncated
	}
	return &c, c.check(len(c.Text))
}

var errTruncated = errors.New("the ciphertext is cut off")

func counted(b []byte) (part, rest []byte, ok bool) {
	if len(b) == 0 || len(b)-1 < int(b[0]) {
		return nil, nil, false
	}
	n := int(b[0])
	return b[1 : 1+n], b[1+n:], true
}
