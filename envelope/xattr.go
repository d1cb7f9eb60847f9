package envelope

import "errors"

// MaxXattrValue is the longest plaintext value of an extended attribute, in bytes: what Linux takes
// (XATTR_SIZE_MAX), less the seal.
const MaxXattrValue = 65536 - messageOverhead

// EncryptXattrName returns the store's name of an extended attribute, without the prefix that the
// store demands ("user."): base64url(IV || ciphertext), the same for every object of the volume.
// Whether it fits the store's limit is the caller's to check.
func (v *Volume) EncryptXattrName(name string) string {
	if !v.use() {
		return ""
	}
	defer v.done()
	return v.xattrNames.sealText(nil, name)
}

// DecryptXattrName is the inverse of EncryptXattrName. KindCorrupt if enc was not made by this
// volume.
func (v *Volume) DecryptXattrName(enc string) (string, error) {
	const op = "decrypt xattr name"
	if !v.use() {
		return "", errClosed(op)
	}
	defer v.done()
	name, err := v.xattrNames.openText(nil, enc)
	if err != nil {
		return "", newError(op, KindCorrupt, FileID{}, err)
	}
	return name, nil
}

// SealXattr returns the stored value of attribute name of object, which is a file id or directory
// id. A value above MaxXattrValue bytes makes one that no store takes. nil after Wipe.
func (v *Volume) SealXattr(object [16]byte, name string, value []byte) []byte {
	if !v.use() {
		return nil
	}
	defer v.done()
	return v.xattrs.seal(nil, value, xattrAAD(object, name))
}

// OpenXattr returns the plaintext value. KindCorrupt if it was not sealed for this object and name.
// An older value of the same attribute of the same object is not told from the newest.
func (v *Volume) OpenXattr(object [16]byte, name string, sealed []byte) ([]byte, error) {
	const op = "open xattr"
	if !v.use() {
		return nil, errClosed(op)
	}
	defer v.done()
	if len(sealed) > MaxXattrValue+messageOverhead {
		return nil, newError(op, KindCorrupt, FileID{}, errors.New("longer than any sealed value"))
	}
	value, ok := v.xattrs.open(sealed, xattrAAD(object, name))
	if !ok {
		return nil, newError(op, KindCorrupt, FileID{}, errForged)
	}
	return value, nil
}

// xattrAAD is object || name: what a sealed value is bound to.
func xattrAAD(object [16]byte, name string) []byte { return append(object[:], name...) }
