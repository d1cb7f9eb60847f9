package envelope

import (
	"errors"
	"fmt"
)

const (
	// maxStoreTarget is the longest symlink target of the store, in bytes: PATH_MAX of Linux less
	// its final zero.
	maxStoreTarget = 4095
	// MaxSymlinkTarget is the longest plaintext target of a symlink, in bytes.
	MaxSymlinkTarget = maxStoreTarget*3/4 - messageOverhead
)

// SealSymlink returns the store target of a symlink to target that stands under name in parent:
// base64url of the sealed target. It differs each time. KindTooLong above MaxSymlinkTarget bytes,
// KindInvalid for an empty target.
func (v *Volume) SealSymlink(parent DirID, name, target string) (string, error) {
	const op = "seal symlink"
	if !v.use() {
		return "", errClosed(op)
	}
	defer v.done()
	switch {
	case target == "":
		return "", newError(op, KindInvalid, FileID{}, errors.New("empty target"))
	case len(target) > MaxSymlinkTarget:
		return "", newError(op, KindTooLong, FileID{},
			fmt.Errorf("target of %d bytes, at most %d can be stored", len(target), MaxSymlinkTarget))
	}
	return text.EncodeToString(v.symlinks.seal(nil, []byte(target), symlinkAAD(parent, name))), nil
}

// OpenSymlink returns the plaintext target. KindCorrupt if it was not sealed for this parent and
// name: moved, swapped, edited, or malformed.
func (v *Volume) OpenSymlink(parent DirID, name, sealed string) (string, error) {
	const op = "open symlink"
	if !v.use() {
		return "", errClosed(op)
	}
	defer v.done()
	if len(sealed) > maxStoreTarget {
		return "", newError(op, KindCorrupt, FileID{}, errors.New("longer than any sealed target"))
	}
	raw, ok := decodeText(nil, []byte(sealed))
	if !ok {
		return "", newError(op, KindCorrupt, FileID{}, errEncoding)
	}
	target, ok := v.symlinks.open(raw, symlinkAAD(parent, name))
	if !ok || len(target) == 0 {
		return "", newError(op, KindCorrupt, FileID{}, errForged)
	}
	return string(target), nil
}

// symlinkAAD is parent || name: what a sealed target is bound to.
func symlinkAAD(parent DirID, name string) []byte { return append(parent[:], name...) }
