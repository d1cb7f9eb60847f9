package envelope

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
)

// DirFile is the name of the symlink in every directory of the store whose target says, under
// authentication, which directory it is.
const DirFile = "kmsfs.dir"

// dirMACSize is the length of the MAC in a directory's symlink.
const dirMACSize = 16

// DirID is the random identity of a directory; the names in it are encrypted under it. The zero
// DirID is the parent of the root directory.
type DirID [16]byte

// NewDirID returns a random directory id.
func NewDirID() DirID {
	var id DirID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return id
}

// String returns 32 hex digits.
func (id DirID) String() string { return hex.EncodeToString(id[:]) }

// SealDir returns the target of the symlink DirFile in the directory id that stands under name in
// parent: base64url(id || MAC over parent, name and id). The root has the zero parent and the name "".
func (v *Volume) SealDir(parent DirID, name string, id DirID) string {
	if !v.use() {
		return ""
	}
	defer v.done()
	sum := v.dirMAC(parent, name, id)
	var raw [len(id) + dirMACSize]byte
	copy(raw[copy(raw[:], id[:]):], sum[:dirMACSize])
	return text.EncodeToString(raw[:])
}

// OpenDir returns the directory id of a DirFile's target. KindCorrupt if the target is malformed,
// KindMoved if it was not sealed for this parent and name: the directory was moved, renamed or
// copied in the store, comes from another volume, or its target was edited.
func (v *Volume) OpenDir(parent DirID, name, target string) (DirID, error) {
	const op = "open directory"
	var id DirID
	if !v.use() {
		return id, errClosed(op)
	}
	defer v.done()
	raw, ok := decodeText(nil, []byte(target))
	if !ok || len(raw) != len(id)+dirMACSize {
		return id, newError(op, KindCorrupt, FileID{}, errors.New("malformed "+DirFile))
	}
	copy(id[:], raw)
	sum := v.dirMAC(parent, name, id)
	if !equalMAC(raw[len(id):], &sum) {
		return DirID{}, newError(op, KindMoved, FileID{}, errForged)
	}
	return id, nil
}

// dirMAC computes HMAC(dir, parent || name || id): both ids have a fixed length, so the parts can't
// be told apart in two ways.
func (v *Volume) dirMAC(parent DirID, name string, id DirID) [KeySize]byte {
	return v.dirs.mac(parent[:], []byte(name), id[:])
}
