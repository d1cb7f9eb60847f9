package envelope

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// MaxNameLen is the longest plaintext name, in bytes: NAME_MAX of Linux.
const MaxNameLen = 255

// longPrefix begins the store name of an encrypted name that is too long for the store.
const longPrefix = "kmsfs.long."

// text is the encoding of everything that becomes a name or a symlink target in the store: URL-safe
// base64 without padding. Strict, so that no two spellings decode to the same bytes.
var text = base64.RawURLEncoding.Strict()

var (
	errForged   = errors.New("fails authentication")
	errEncoding = errors.New("not base64url")
)

// EncryptName returns the store name of name in directory dir: base64url(IV || ciphertext), a
// deterministic function of both (and of the volume key). It has 4/3 of the length of name and 22
// bytes more; if that is over 255 bytes the object is stored as LongName of it.
func (v *Volume) EncryptName(dir DirID, name string) string {
	if !v.use() {
		return ""
	}
	defer v.done()
	return v.names.sealText(dir[:], name)
}

// DecryptName is the inverse of EncryptName. KindCorrupt if enc was not made for this directory of
// this volume, including every other spelling of the same bytes.
func (v *Volume) DecryptName(dir DirID, enc string) (string, error) {
	const op = "decrypt name"
	if !v.use() {
		return "", errClosed(op)
	}
	defer v.done()
	name, err := v.names.openText(dir[:], enc)
	if err != nil {
		return "", newError(op, KindCorrupt, FileID{}, err)
	}
	if !validName(name) {
		return "", newError(op, KindCorrupt, FileID{}, errors.New("decrypts to what is not a file name"))
	}
	return name, nil
}

// LongName returns the fixed-length store name of an encrypted name over 255 bytes: "kmsfs.long."
// and the base64url of its SHA-256. The encrypted name itself is kept beside the object.
func LongName(enc string) string {
	sum := sha256.Sum256([]byte(enc))
	return longPrefix + text.EncodeToString(sum[:])
}

// validName reports whether name can be an entry of a directory.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= MaxNameLen &&
		!strings.ContainsAny(name, "/\x00")
}

// sealText is seal with a base64url result.
func (k *siv) sealText(header []byte, plain string) string {
	s := k.mac.get()
	sealed := k.seal(s, header, plain, sivIVSize)
	out := string(text.AppendEncode(s.text[:0], sealed))
	k.mac.put(s)
	return out
}

// openText is the inverse of sealText.
func (k *siv) openText(header []byte, enc string) (string, error) {
	if len(enc) > text.EncodedLen(sivIVSize+MaxNameLen) {
		return "", errors.New("longer than any encrypted name")
	}
	s := k.mac.get()
	defer k.mac.put(s)
	raw, ok := decodeText(s.text[text.EncodedLen(sivIVSize+MaxNameLen):][:0], append(s.text[:0], enc...))
	if !ok {
		return "", errEncoding
	}
	plain, ok := k.open(s, header, raw, sivIVSize)
	if !ok {
		return "", errForged
	}
	return string(plain), nil
}

// decodeText appends the decoded bytes of enc to dst. Unlike base64 itself it takes no line breaks.
func decodeText(dst, enc []byte) ([]byte, bool) {
	for _, c := range enc {
		if c == '\n' || c == '\r' {
			return nil, false
		}
	}
	raw, err := text.AppendDecode(dst, enc)
	return raw, err == nil
}
