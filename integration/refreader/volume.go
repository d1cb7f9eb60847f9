package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
)

// volume is a volume's id and key.
type volume struct{ id, key []byte }

func (v *volume) subkey(purpose string) []byte { return subkey(v.key, v.id, purpose) }

// decode64 is base64url in its only allowed spelling.
func decode64(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || base64.RawURLEncoding.EncodeToString(b) != s {
		return nil, corrupt
	}
	return b, nil
}

// name decrypts the name of an entry of directory dir.
func (v *volume) name(dir []byte, s string) (string, error) {
	b, err := decode64(s)
	if err != nil {
		return "", err
	}
	p, err := openDeterministic(v.subkey("name-mac"), v.subkey("name-enc"), dir, b, 16)
	if err != nil {
		return "", err
	}
	if !isName(string(p)) {
		return "", corrupt
	}
	return string(p), nil
}

func isName(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= 255 && !strings.ContainsAny(s, "/\x00")
}

// longName is the store name of an encrypted name over 255 bytes.
func longName(encrypted string) string {
	sum := sha256.Sum256([]byte(encrypted))
	return "kmsfs.long." + base64.RawURLEncoding.EncodeToString(sum[:])
}

// xattrName decrypts the name of an extended attribute.
func (v *volume) xattrName(s string) (string, error) {
	b, err := decode64(s)
	if err != nil {
		return "", err
	}
	p, err := openDeterministic(v.subkey("xattr-name-mac"), v.subkey("xattr-name-enc"), nil, b, 16)
	if err != nil || len(p) > 255 {
		return "", corrupt
	}
	return string(p), nil
}

// xattr decrypts the value of an extended attribute.
func (v *volume) xattr(object []byte, name string, sealed []byte) ([]byte, error) {
	return openMessage(v.subkey("xattr"), sealed, append(append([]byte(nil), object...), name...))
}

// directory returns the id in the target of a directory's own symlink.
func (v *volume) directory(parent []byte, name, target string) ([]byte, error) {
	b, err := decode64(target)
	if err != nil || len(b) != 32 {
		return nil, corrupt
	}
	if !hmac.Equal(b[16:], mac(v.subkey("dir"), parent, []byte(name), b[:16])[:16]) {
		return nil, moved
	}
	return b[:16], nil
}

// symlink returns the plaintext target of a symlink.
func (v *volume) symlink(parent []byte, name, sealed string) (string, error) {
	b, err := decode64(sealed)
	if err != nil {
		return "", err
	}
	p, err := openMessage(v.subkey("symlink"), b, append(append([]byte(nil), parent...), name...))
	if err != nil || len(p) == 0 {
		return "", corrupt
	}
	return string(p), nil
}

// size opens a sealed size that belongs to header.
func (v *volume) size(header, sealed []byte, tagLen int) (uint64, error) {
	if len(sealed) != tagLen+8 {
		return 0, corrupt
	}
	p, err := openDeterministic(v.subkey("stat-mac"), v.subkey("stat-enc"), header, sealed, tagLen)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(p), nil
}

// statRecord returns the size in a root page's stat record.
func (v *volume) statRecord(file []byte, sequence uint64, sealed []byte) (uint64, error) {
	header := append([]byte{1}, file...)
	return v.size(binary.LittleEndian.AppendUint64(header, sequence), sealed, 28)
}

// hint returns the size in a stat hint.
func (v *volume) hint(b []byte) (uint64, error) {
	if len(b) > 0 && b[0] != 1 {
		return 0, unsupported
	}
	if len(b) != 57 {
		return 0, corrupt
	}
	return v.size(append([]byte{2}, b[:33]...), b[33:], 16)
}

// slots returns the version of a slot area and a line for each slot.
func (v *volume) slots(file, area []byte) (version uint32, lines []string, err error) {
	if len(area) < 24 || len(area) > 3584 {
		return 0, nil, corrupt
	}
	b, tag := area[:len(area)-16], area[len(area)-16:]
	if !hmac.Equal(tag, mac(v.subkey("slots"), v.id, file, b)[:16]) {
		return 0, nil, corrupt
	}
	le := binary.LittleEndian
	if le.Uint16(b[6:]) != 0 {
		return 0, nil, unsupported
	}
	version, n, recovery := le.Uint32(b), int(le.Uint16(b[4:])), 0
	for b = b[8:]; len(lines) < n; {
		if len(b) < 32 {
			return 0, nil, corrupt
		}
		if b[0] != 1 && b[0] != 2 || b[2] > 1 || b[3] != 0 || le.Uint16(b[6:]) != 0 {
			return 0, nil, unsupported
		}
		if b[0] == 2 {
			recovery++
			if b[1] != 0 || b[2] != 0 || le.Uint64(b[8:]) != 0 {
				recovery++ // as bad as a second one
			}
		}
		size := int(le.Uint16(b[4:]))
		if size == 0 || 32+size > len(b) {
			return 0, nil, corrupt
		}
		lines = append(lines, fmt.Sprintf("kind=%d key-index=%d dropping=%v log-seq=%d tag=%x wrapped=%x",
			b[0], b[1], b[2] == 1, le.Uint64(b[8:]), b[16:32], b[32:32+size]))
		b = b[32+size:]
	}
	if len(b) != 0 {
		return 0, nil, corrupt
	}
	if recovery > 1 {
		return 0, nil, unsupported
	}
	return version, lines, nil
}

// mounts is the content of the mount states.
type mounts struct {
	current uint64
	ended   bool
	unclean []uint64
	unknown bool
}

// mounts decodes the mount states.
func (v *volume) mounts(b []byte) (m mounts, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) == 0:
		return m, truncated
	case b[0] != 1:
		return m, unsupported
	case len(b) < 32 || !hmac.Equal(b[len(b)-16:], mac(v.subkey("mounts"), v.id, b[:len(b)-16])[:16]):
		return m, corrupt
	}
	list := b[16 : len(b)-16]
	if len(list) != 8*int(le.Uint16(b[2:])) {
		return m, corrupt
	}
	if b[1] > 3 || le.Uint32(b[4:]) != 0 {
		return m, unsupported
	}
	m.current, m.unknown, m.ended = le.Uint64(b[8:]), b[1]&1 != 0, b[1]&2 != 0
	if m.ended && m.current == 0 {
		return m, corrupt
	}
	for ; len(list) > 0; list = list[8:] {
		m.unclean = append(m.unclean, le.Uint64(list))
	}
	return m, nil
}

// isUnclean reports whether mount id ended uncleanly.
func (m *mounts) isUnclean(id uint64) bool {
	if id == m.current && id != 0 && !m.ended {
		return false
	}
	for _, u := range m.unclean {
		if u == id {
			return true
		}
	}
	return m.unknown
}
