package main

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/dustin/go-humanize"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs"
)

// fileView is what an encrypted file tells without any key, in JSON.
type fileView struct {
	Volume     string     `json:"volume"`
	File       string     `json:"file"`
	Suite      uint16     `json:"suite"`
	Compressed bool       `json:"compressed"`
	Sequence   uint64     `json:"sequence"`
	Revision   uint32     `json:"revision"`
	Mount      string     `json:"mount"`
	Commitment []byte     `json:"keyCommitment"`
	OtherRoot  string     `json:"otherRootPage"`
	Stored     int64      `json:"storedBytes"`
	Allocated  int64      `json:"allocatedBytes"`
	SlotsFrom  string     `json:"slotsFrom"` // header or attribute
	Slots      []slotView `json:"slots"`
}

// slotView is one wrapping of the file's data key.
type slotView struct {
	Kind     string `json:"kind"`               // path or recovery
	KeyIndex *uint8 `json:"keyIndex,omitempty"` // path: into keyArns of the volume
	KeyARN   string `json:"keyArn,omitempty"`   // path: when the volume file is in a directory above
	LogSeq   uint64 `json:"renameLogSequence"`
	Dropping bool   `json:"dropping"` // a rename or unlink has done with it
	Tag      string `json:"tag"`      // of the path, or of the recovery key
	Wrapped  []byte `json:"wrappedKey"`
}

// infoFile prints the header of one encrypted file.
func (a *app) infoFile(path string) error {
	info, err := fs.ReadFileInfo(filepath.Dir(path), filepath.Base(path))
	if err != nil {
		return err
	}
	v := viewFile(info, volumeKeys(path, info.VolumeID))
	if a.json {
		return a.ui.JSON(v)
	}
	return a.printFile(v)
}

// volumeKeys looks for the file's volume in the directories above and returns its key ARNs.
func volumeKeys(path, volume string) []string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		if v, err := fs.ReadVolumeInfo(dir); err == nil && v.ID == volume {
			return v.KeyARNs
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func viewFile(info fs.FileInfo, arns []string) fileView {
	v := fileView{
		Volume: info.VolumeID, File: info.FileID, Suite: info.Suite, Compressed: info.Compressed, Sequence: info.Sequence,
		Revision: info.Revision, Mount: fmt.Sprintf("%016x", info.MountID), Commitment: info.Commitment, OtherRoot: info.OtherRoot,
		Stored: info.Stored, Allocated: info.Allocated, SlotsFrom: "header", Slots: []slotView{},
	}
	if info.Staged {
		v.SlotsFrom = "attribute"
	}
	for i := range info.Slots.Slots {
		v.Slots = append(v.Slots, viewSlot(&info.Slots.Slots[i], arns))
	}
	return v
}

func viewSlot(s *envelope.Slot, arns []string) slotView {
	v := slotView{Kind: "recovery", LogSeq: s.LogSeq, Dropping: s.Dropping, Tag: fmt.Sprintf("%x", s.Tag), Wrapped: s.Wrapped}
	if s.Kind == envelope.SlotPath {
		v.Kind, v.KeyIndex = "path", &s.KeyIndex
		if int(s.KeyIndex) < len(arns) {
			v.KeyARN = arns[s.KeyIndex]
		}
	}
	return v
}

func (a *app) printFile(v fileView) error {
	compressed := "no"
	if v.Compressed {
		compressed = "yes"
	}
	fields := []string{
		"Volume", v.Volume,
		"File", v.File,
		"Suite", strconv.Itoa(int(v.Suite)),
		"Compressed", compressed,
		"Commit", fmt.Sprintf("%d, slots changed %d times since, by mount %s", v.Sequence, v.Revision, v.Mount),
		"Other root page", v.OtherRoot,
		"Stored", humanize.IBytes(uint64(max(v.Stored, 0))) + ", on the disk " + humanize.IBytes(uint64(max(v.Allocated, 0))),
		"Key commitment", fmt.Sprintf("%x", v.Commitment),
		"Key slots", strconv.Itoa(len(v.Slots)) + ", in the " + v.SlotsFrom,
	}
	for i, s := range v.Slots {
		fields = append(fields, fmt.Sprintf("Wrapped key %d", i+1), fmt.Sprintf("%x (%s)", s.Wrapped, s.describe()))
	}
	return a.ui.Fields(fields...)
}

// describe says for whom a slot is.
func (s *slotView) describe() string {
	text := fmt.Sprintf("%d bytes, ", len(s.Wrapped))
	switch {
	case s.KeyIndex == nil:
		return text + "for recovery, recipient " + s.Tag
	case s.KeyARN != "":
		text += "under " + s.KeyARN
	default:
		text += fmt.Sprintf("under key %d of the volume", *s.KeyIndex)
	}
	text += fmt.Sprintf(", path tag %s at rename %d", s.Tag, s.LogSeq)
	if s.Dropping {
		text += ", to be dropped"
	}
	return text
}
