package envelope

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// volumePrefix begins the text form of a VolumeID.
const volumePrefix = "vol-"

// VolumeID is the random identity of a volume; its text form is "vol-" and 32 hex digits.
type VolumeID [16]byte

// String returns the text form.
func (id VolumeID) String() string { return volumePrefix + hex.EncodeToString(id[:]) }

// ParseVolumeID reads the text form that String writes. It accepts no other spelling; errors are
// of KindInvalid.
func ParseVolumeID(s string) (VolumeID, error) {
	var id VolumeID
	digits, ok := strings.CutPrefix(s, volumePrefix)
	if !ok {
		return id, newError("parse volume id", KindInvalid, FileID{}, fmt.Errorf("%q does not begin with %q", s, volumePrefix))
	}
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != digits {
		return id, newError("parse volume id", KindInvalid, FileID{}, fmt.Errorf("%q: want %d lower-case hex digits after %q", s, 2*len(id), volumePrefix))
	}
	copy(id[:], b)
	return id, nil
}

// FileID is the random identity of an encrypted file within its volume.
type FileID [16]byte

// String returns 32 hex digits.
func (id FileID) String() string { return hex.EncodeToString(id[:]) }
