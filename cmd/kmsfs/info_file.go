package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/dustin/go-humanize"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs"
)

// fileView is the header of an encrypted file in JSON.
type fileView struct {
	Volume      string     `json:"volume"`
	File        string     `json:"file"`
	Suite       uint16     `json:"suite"`
	Sequence    uint64     `json:"sequence"`
	Commitment  []byte     `json:"keyCommitment"`
	StoredBytes int64      `json:"storedBytes"`
	Slots       []slotView `json:"slots"`
}

// slotView is one wrapping of the file's data key.
type slotView struct {
	Kind     uint8  `json:"kind"`
	KeyIndex uint8  `json:"keyIndex"` // into keyArns of the volume
	Wrapped  []byte `json:"wrappedKey"`
}

// infoFile prints the header of one encrypted file.
func (a *app) infoFile(path string) error {
	info, err := fs.ReadFileInfo(filepath.Dir(path), filepath.Base(path))
	if err != nil {
		return err
	}
	v := fileView{
		Volume: info.VolumeID, File: info.FileID, Suite: info.Suite, Sequence: info.Sequence,
		Commitment: info.Commitment, StoredBytes: info.Size,
	}
	if v.Slots, err = readSlots(info.SlotArea); err != nil {
		return &appError{code: exitIntegrity, msg: path, err: err}
	}
	if a.json {
		return a.ui.JSON(v)
	}
	return a.printFile(v)
}

func (a *app) printFile(v fileView) error {
	fields := []string{
		"Volume", v.Volume,
		"File", v.File,
		"Suite", strconv.Itoa(int(v.Suite)),
		"Sequence", strconv.FormatUint(v.Sequence, 10),
		"Stored", humanize.IBytes(uint64(max(v.StoredBytes, 0))),
		"Key commitment", fmt.Sprintf("%x", v.Commitment),
	}
	for i, s := range v.Slots {
		under := fmt.Sprintf("under key %d of the volume", s.KeyIndex)
		if s.Kind == envelope.SlotRecovery {
			under = "for recovery"
		}
		fields = append(fields, fmt.Sprintf("Wrapped key %d", i+1), fmt.Sprintf("%x (%d bytes, %s)", s.Wrapped, len(s.Wrapped), under))
	}
	return a.ui.Fields(fields...)
}

// readSlots reads the slot table of docs/FORMAT.md without checking its MAC, which takes the volume
// key: header of 8 bytes with the count at 4; slots of 32 bytes with kind at 0, key at 1 and the
// length of the wrapped key, which follows, at 4; MAC of 16 bytes.
func readSlots(area []byte) ([]slotView, error) {
	const header, fixed, mac = 8, 32, 16
	if len(area) < header+mac {
		return nil, errors.New("the key slots are cut off")
	}
	count := int(binary.LittleEndian.Uint16(area[4:]))
	rest := area[header : len(area)-mac]
	slots := []slotView{}
	for range count {
		if len(rest) < fixed || len(rest)-fixed < int(binary.LittleEndian.Uint16(rest[4:])) {
			return nil, errors.New("the key slots are damaged")
		}
		end := fixed + int(binary.LittleEndian.Uint16(rest[4:]))
		slots = append(slots, slotView{Kind: rest[0], KeyIndex: rest[1], Wrapped: rest[fixed:end]})
		rest = rest[end:]
	}
	return slots, nil
}
