package main

import (
	"bytes"
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// volumeFile is the volume file; members in the order of the file.
type volumeFile struct {
	Format  int    `json:"format"`
	Suite   int    `json:"suite"`
	ID      string `json:"volume_id"`
	Created string `json:"created"`
	Options struct {
		PlaintextNames bool `json:"plaintext_names"`
		Compress       bool `json:"compress"`
	} `json:"options"`
	Keys       []string `json:"keys"`
	WrappedBy  int      `json:"wrapped_by"`
	Wrapped    string   `json:"wrapped_key"`
	Commitment string   `json:"commitment"`
	Recovery   *struct {
		Recipient string `json:"recipient"`
		Wrapped   string `json:"wrapped_key"`
	} `json:"recovery"`
	MAC string `json:"mac"`
}

// readVolumeFile decodes and checks a volume file with the volume key.
func readVolumeFile(b, key []byte) (*volumeFile, error) {
	if len(b) == 0 {
		return nil, truncated
	}
	if len(b) > 1<<20 {
		return nil, tooLarge
	}
	var f volumeFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, corrupt
	}
	if f.Format != 1 || f.Suite != 1 {
		return nil, unsupported
	}
	strict := json.NewDecoder(bytes.NewReader(b))
	strict.DisallowUnknownFields()
	if strict.Decode(new(volumeFile)) != nil {
		return nil, unsupported
	}
	if f.render() != string(b) || f.WrappedBy < 0 || f.WrappedBy >= len(f.Keys) || len(f.Keys) > 256 || f.Keys[f.WrappedBy] == "" {
		return nil, corrupt
	}
	return &f, f.verify(key)
}

// render is the only spelling of the file.
func (f *volumeFile) render() string {
	keys := `"` + strings.Join(f.Keys, "\",\n    \"") + `"`
	recovery := ""
	if f.Recovery != nil {
		recovery = fmt.Sprintf("  \"recovery\": {\n    \"recipient\": \"%s\",\n    \"wrapped_key\": \"%s\"\n  },\n", f.Recovery.Recipient, f.Recovery.Wrapped)
	}
	return fmt.Sprintf(`{
  "format": %d,
  "suite": %d,
  "volume_id": "%s",
  "created": "%s",
  "options": {
    "plaintext_names": %v,
    "compress": %v
  },
  "keys": [
    %s
  ],
  "wrapped_by": %d,
  "wrapped_key": "%s",
  "commitment": "%s",
%s  "mac": "%s"
}
`, f.Format, f.Suite, f.ID, f.Created, f.Options.PlaintextNames, f.Options.Compress, keys, f.WrappedBy, f.Wrapped, f.Commitment, recovery, f.MAC)
}

// verify checks commitment and MAC.
func (f *volumeFile) verify(key []byte) error {
	digits, ok := strings.CutPrefix(f.ID, "vol-")
	id, err := hex.DecodeString(digits)
	if !ok || err != nil || len(id) != 16 || hex.EncodeToString(id) != digits {
		return corrupt
	}
	wrapped, err := base64.StdEncoding.Strict().DecodeString(f.Wrapped)
	if err != nil || len(wrapped) == 0 || len(wrapped) > 6144 {
		return corrupt
	}
	commitment, err1 := base64.StdEncoding.Strict().DecodeString(f.Commitment)
	tag, err2 := base64.StdEncoding.Strict().DecodeString(f.MAC)
	created, err3 := time.Parse(time.RFC3339, f.Created)
	if err1 != nil || err2 != nil || err3 != nil || created.UTC().Format(time.RFC3339) != f.Created {
		return corrupt
	}
	recovery, err := f.recovery()
	if err != nil {
		return err
	}
	v := &volume{id, key}
	if !hmac.Equal(commitment, v.subkey("commit")) {
		return wrongKey
	}
	if !hmac.Equal(tag, mac(v.subkey("volume-file"), f.canonical(id, wrapped, commitment, recovery, created.Unix()))) {
		return corrupt
	}
	return nil
}

// canonical is what the MAC covers.
func (f *volumeFile) canonical(id, wrapped, commitment, recovery []byte, created int64) []byte {
	var b []byte
	field := func(p []byte) {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	number := func(n int64) { field(binary.LittleEndian.AppendUint64(nil, uint64(n))) }
	bit := map[bool]byte{true: 1}
	number(int64(f.Format))
	number(int64(f.Suite))
	field(id)
	number(created)
	field([]byte{bit[f.Options.PlaintextNames], bit[f.Options.Compress]})
	number(int64(len(f.Keys)))
	for _, k := range f.Keys {
		field([]byte(k))
	}
	number(int64(f.WrappedBy))
	field(wrapped)
	field(commitment)
	if f.Recovery != nil {
		field([]byte(f.Recovery.Recipient))
		field(recovery)
	}
	return b
}
