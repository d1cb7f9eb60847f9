package envelope

import (
	"bytes"
	"crypto/hmac"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// VolumeFileName is the store's name of the volume file.
const VolumeFileName = "kmsfs.volume"

// Limits of the volume file.
const (
	// VolumeFormat is the version of the whole format on disk.
	VolumeFormat = 1
	// MaxVolumeFile is the longest volume file, in bytes.
	MaxVolumeFile = 1 << 20
	// MaxVolumeKeys is how many key ARNs a volume file can name.
	MaxVolumeKeys = 256

	maxKeyARN = 2048
)

// VolumeOptions are the properties that a volume keeps for life.
type VolumeOptions struct {
	PlaintextNames bool `json:"plaintext_names"` // names are not encrypted
	Compress       bool `json:"compress"`        // new files are compressed
}

// VolumeFile is the content of the volume file: readable, and authenticated under the volume key.
type VolumeFile struct {
	Format     int       // VolumeFormat
	Suite      uint16    // SuiteAES256GCM
	ID         VolumeID  // of the volume
	Keys       []string  // key ARNs, Slot.KeyIndex points here; "" for one that has left the volume
	WrappedBy  int       // index of the key that wrapped the volume key and wraps new data keys
	Wrapped    []byte    // ciphertext blob of the volume key under VolumeContext
	Recovery   *Recovery // nil for a volume without recovery
	Commitment [KeySize]byte
	Options    VolumeOptions
	Created    time.Time // whole seconds, UTC

	mac [KeySize]byte // as parsed
}

// Recovery is the second wrapping of the volume key, and for whom it and the recovery slots are.
type Recovery struct {
	Recipient string `json:"recipient"`   // text form, see ParseRecipient
	Wrapped   []byte `json:"wrapped_key"` // volume key, by Recipient.WrapVolumeKey or a key service
}

// volumeJSON is the file as JSON, members in the order of the canonical form.
type volumeJSON struct {
	Format     int           `json:"format"`
	Suite      uint16        `json:"suite"`
	ID         string        `json:"volume_id"`
	Created    string        `json:"created"`
	Options    VolumeOptions `json:"options"`
	Keys       []string      `json:"keys"`
	WrappedBy  int           `json:"wrapped_by"`
	Wrapped    []byte        `json:"wrapped_key"`
	Commitment []byte        `json:"commitment"`
	Recovery   *Recovery     `json:"recovery,omitempty"`
	MAC        []byte        `json:"mac"`
}

// Marshal sets Format, Suite and Commitment to those of v and returns the canonical JSON with its
// MAC. KindInvalid for contents that ParseVolumeFile would refuse or an ID other than v's.
func (f *VolumeFile) Marshal(v *Volume) ([]byte, error) {
	const op = "write volume file"
	if !v.use() {
		return nil, errClosed(op)
	}
	defer v.done()
	f.Format, f.Suite, f.Commitment = VolumeFormat, SuiteAES256GCM, v.commitment
	f.Created = f.Created.UTC().Truncate(time.Second)
	err := f.check()
	if err == nil && f.ID != v.id {
		err = fmt.Errorf("volume file of %v, keys of %v", f.ID, v.id)
	}
	if err != nil {
		return nil, newError(op, KindInvalid, FileID{}, err)
	}
	f.mac = v.volumeFile.mac(f.canonical())
	return f.render(), nil
}

// ParseVolumeFile decodes a volume file but can't tell whether it is authentic; Verify does, with
// the key that Wrapped unwraps to. Nothing but Marshal's own spelling is taken. KindTruncated if it
// is empty, KindTooLarge above MaxVolumeFile, KindUnsupported for another format or suite and for
// unknown members, KindCorrupt for everything else that Marshal does not write.
func ParseVolumeFile(b []byte) (*VolumeFile, error) {
	const op = "read volume file"
	if len(b) == 0 {
		return nil, newError(op, KindTruncated, FileID{}, nil)
	}
	if len(b) > MaxVolumeFile {
		return nil, newError(op, KindTooLarge, FileID{}, fmt.Errorf("%d bytes", len(b)))
	}
	j, kind, err := decodeVolumeJSON(b)
	if err != nil {
		return nil, newError(op, kind, FileID{}, err)
	}
	f, err := j.volumeFile()
	if err == nil {
		err = f.check()
	}
	if err == nil && !bytes.Equal(f.render(), b) {
		err = errors.New("not in canonical form")
	}
	if err != nil {
		return nil, newError(op, KindCorrupt, FileID{}, err)
	}
	return f, nil
}

// Verify checks a parsed file against the unwrapped volume key and returns the volume's subkeys.
// KindWrongKey if the file does not commit to this key, KindCorrupt if it was edited.
func (f *VolumeFile) Verify(key *VolumeKey) (*Volume, error) {
	const op = "verify volume file"
	v, err := NewVolume(f.ID, key)
	if err != nil {
		return nil, err
	}
	sum := v.volumeFile.mac(f.canonical())
	switch {
	case !hmac.Equal(v.commitment[:], f.Commitment[:]):
		err = newError(op, KindWrongKey, FileID{}, errors.New("the volume file commits to another key"))
	case !equalMAC(f.mac[:], &sum):
		err = newError(op, KindCorrupt, FileID{}, errForged)
	default:
		return v, nil
	}
	v.Wipe()
	return nil, err
}

// canonical encodes what the MAC covers: each field as length u32 || bytes, numbers as u64, lists
// with their count in front.
func (f *VolumeFile) canonical() []byte {
	var b []byte
	field := func(p []byte) {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	number := func(n uint64) { field(binary.LittleEndian.AppendUint64(nil, n)) }
	number(uint64(f.Format))
	number(uint64(f.Suite))
	field(f.ID[:])
	number(uint64(f.Created.Unix()))
	field([]byte{boolByte(f.Options.PlaintextNames), boolByte(f.Options.Compress)})
	number(uint64(len(f.Keys)))
	for _, k := range f.Keys {
		field([]byte(k))
	}
	number(uint64(f.WrappedBy))
	field(f.Wrapped)
	field(f.Commitment[:])
	if f.Recovery != nil {
		field([]byte(f.Recovery.Recipient))
		field(f.Recovery.Wrapped)
	}
	return b
}

// boolByte encodes a bool as one byte.
func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// check tells what is wrong with the contents.
func (f *VolumeFile) check() error {
	switch {
	case len(f.Keys) == 0 || len(f.Keys) > MaxVolumeKeys:
		return fmt.Errorf("%d keys, want 1 to %d", len(f.Keys), MaxVolumeKeys)
	case f.WrappedBy < 0 || f.WrappedBy >= len(f.Keys):
		return fmt.Errorf("wrapped by key %d of %d", f.WrappedBy, len(f.Keys))
	case len(f.Wrapped) == 0 || len(f.Wrapped) > MaxWrapped:
		return fmt.Errorf("wrapped key of %d bytes", len(f.Wrapped))
	case f.Created.Year() < 1970 || f.Created.Year() > 9999:
		return fmt.Errorf("created in the year %d", f.Created.Year())
	}
	for i, k := range f.Keys {
		if !validARN(k) && (k != "" || i == f.WrappedBy) {
			return fmt.Errorf("key %d is not an ARN", i)
		}
	}
	return f.Recovery.check()
}

// check tells what is wrong with a recovery; nil is right.
func (r *Recovery) check() error {
	if r == nil {
		return nil
	}
	if len(r.Wrapped) == 0 || len(r.Wrapped) > MaxWrapped {
		return fmt.Errorf("wrapped key for recovery of %d bytes", len(r.Wrapped))
	}
	_, err := ParseRecipient(r.Recipient)
	return err
}

// validARN takes printable ASCII without what JSON escapes.
func validARN(k string) bool {
	return k != "" && len(k) <= maxKeyARN && !strings.ContainsFunc(k, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '"' || r == '\\'
	})
}

// render returns the canonical JSON.
func (f *VolumeFile) render() []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(volumeJSON{
		Format: f.Format, Suite: f.Suite, ID: f.ID.String(), Created: f.Created.Format(time.RFC3339),
		Options: f.Options, Keys: f.Keys, WrappedBy: f.WrappedBy, Wrapped: f.Wrapped,
		Commitment: f.Commitment[:], Recovery: f.Recovery, MAC: f.mac[:],
	})
	if err != nil {
		panic("envelope: volume file: " + err.Error()) // numbers, strings and bytes always encode
	}
	return out.Bytes()
}

// decodeVolumeJSON decodes the JSON and checks the versions, before the members: another version
// may have others.
func decodeVolumeJSON(b []byte) (*volumeJSON, Kind, error) {
	var version struct {
		Format *int    `json:"format"`
		Suite  *uint16 `json:"suite"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return nil, KindCorrupt, err
	}
	if version.Format == nil || version.Suite == nil {
		return nil, KindCorrupt, errors.New("no format or suite")
	}
	if *version.Format != VolumeFormat || *version.Suite != SuiteAES256GCM {
		return nil, KindUnsupported, fmt.Errorf("format %d, suite %d", *version.Format, *version.Suite)
	}
	var j volumeJSON
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		// The first pass took it, so what is left is an unknown member or a member's type.
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return nil, KindCorrupt, err
		}
		return nil, KindUnsupported, err
	}
	return &j, 0, nil
}

// volumeFile converts the members to their types.
func (j *volumeJSON) volumeFile() (*VolumeFile, error) {
	f := &VolumeFile{
		Format: j.Format, Suite: j.Suite, Keys: j.Keys, WrappedBy: j.WrappedBy, Wrapped: j.Wrapped,
		Options: j.Options, Recovery: j.Recovery,
	}
	var err error
	if f.ID, err = ParseVolumeID(j.ID); err != nil {
		return nil, err
	}
	if f.Created, err = time.Parse(time.RFC3339, j.Created); err != nil {
		return nil, err
	}
	f.Created = f.Created.UTC()
	if len(j.Commitment) != len(f.Commitment) || len(j.MAC) != len(f.mac) {
		return nil, errors.New("commitment or MAC of another length")
	}
	copy(f.Commitment[:], j.Commitment)
	copy(f.mac[:], j.MAC)
	return f, nil
}
