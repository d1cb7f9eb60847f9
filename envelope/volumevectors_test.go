package envelope

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// volumeVectors says how to check each format of the volume.
var volumeVectors = map[string]func(v *vector){
	"name":         checkNameVector,
	"long-name":    func(v *vector) { v.expect(nil); v.same("store-name", LongName(v.text("encrypted"))) },
	"directory":    checkDirVector,
	"symlink":      checkSymlinkVector,
	"xattr-name":   checkXattrNameVector,
	"xattr":        checkXattrVector,
	"stat-record":  checkStatVector,
	"stat-hint":    checkHintVector,
	"path-tag":     checkPathTagVector,
	"slots":        checkSlotsVector,
	"volume-file":  checkVolumeFileVector,
	"rename-log":   checkRenameLogVector,
	"mounts":       checkMountsVector,
	"file-context": checkContextVector,
	"recovery-key": checkRecoveryKeyVector,
}

func TestVolumeVectors(t *testing.T) {
	paths, err := filepath.Glob(vectorDir + "/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, path := range paths {
		format := readVector(t, path).get("format")
		check := volumeVectors[format]
		if check == nil {
			if engineVectors[format] == nil {
				t.Errorf("%s: unknown format %s", path, format)
			}
			continue
		}
		seen[format]++
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) { check(readVector(t, path)) })
	}
	for format := range volumeVectors {
		if seen[format] == 0 {
			t.Errorf("no vector of format %s", format)
		}
	}
}

func checkNameVector(v *vector) {
	name, err := v.volume().DecryptName(DirID(v.id("directory")), v.text("encrypted"))
	if v.expect(err) {
		v.same("name", jsonOf(name))
		v.same("encrypted", jsonOf(v.volume().EncryptName(DirID(v.id("directory")), name)))
	}
}

func checkDirVector(v *vector) {
	id, err := v.volume().OpenDir(DirID(v.id("parent")), v.text("name"), v.text("target"))
	if v.expect(err) {
		v.same("id", id)
		v.same("target", jsonOf(v.volume().SealDir(DirID(v.id("parent")), v.text("name"), id)))
	}
}

func checkSymlinkVector(v *vector) {
	target, err := v.volume().OpenSymlink(DirID(v.id("parent")), v.text("name"), v.text("sealed"))
	if v.expect(err) {
		v.same("target", jsonOf(target))
	}
}

func checkXattrNameVector(v *vector) {
	name, err := v.volume().DecryptXattrName(v.text("encrypted"))
	if v.expect(err) {
		v.same("name", jsonOf(name))
		v.same("encrypted", jsonOf(v.volume().EncryptXattrName(name)))
	}
}

func checkXattrVector(v *vector) {
	value, err := v.volume().OpenXattr(v.id("object"), v.text("name"), v.body)
	if v.expect(err) {
		v.same("value", hex.EncodeToString(value))
	}
}

func checkStatVector(v *vector) {
	size, err := v.volume().OpenStat(FileID(v.id("file-id")), v.number("sequence"), v.body)
	if v.expect(err) {
		v.same("size", size)
		if rec := v.volume().SealStat(FileID(v.id("file-id")), v.number("sequence"), size); string(rec[:]) != string(v.body) {
			v.t.Errorf("seals to %x", rec)
		}
	}
}

func checkHintVector(v *vector) {
	h, err := v.volume().OpenHint(v.body)
	if v.expect(err) {
		v.same("file-id", h.FileID)
		v.same("sequence", h.Sequence)
		v.same("mount-id", h.MountID)
		v.same("size", h.Size)
		seal := v.volume().SealHint
		if h.Durable {
			v.same("durable", h.Durable)
			seal = v.volume().SealDurableHint
		}
		if b := seal(h.FileID, h.Sequence, h.MountID, h.Size); string(b) != string(v.body) {
			v.t.Errorf("seals to %x", b)
		}
	}
}

func checkPathTagVector(v *vector) {
	tag := v.volume().PathTag(v.text("path"))
	v.expect(nil)
	v.same("tag", hex.EncodeToString(tag[:]))
}

func checkSlotsVector(v *vector) {
	id := FileID(v.id("file-id"))
	table, err := v.volume().OpenSlots(id, v.body)
	if !v.expect(err) {
		return
	}
	v.same("version", table.Version)
	var got []string
	for _, s := range table.Slots {
		got = append(got, slotLine(s))
	}
	if !slices.Equal(got, v.fields["slot"]) {
		v.t.Errorf("slots %q, want %q", got, v.fields["slot"])
	}
	if b, err := v.volume().SealSlots(id, table); err != nil || string(b) != string(v.body) {
		v.t.Errorf("seals to %x, %v", b, err)
	}
}

// slotLine is a slot as vectors write it.
func slotLine(s Slot) string {
	return fmt.Sprintf("kind=%d key-index=%d dropping=%v log-seq=%d tag=%x wrapped=%x", s.Kind, s.KeyIndex, s.Dropping, s.LogSeq, s.Tag, s.Wrapped)
}

func checkVolumeFileVector(v *vector) {
	f, err := ParseVolumeFile(v.body)
	if err == nil {
		var vol *Volume
		if vol, err = f.Verify(v.key()); err == nil {
			vol.Wipe()
		}
	}
	if !v.expect(err) {
		return
	}
	v.same("volume-id", f.ID)
	v.same("keys", jsonOf(f.Keys))
	v.same("wrapped-by", f.WrappedBy)
	v.same("wrapped", hex.EncodeToString(f.Wrapped))
	v.same("commitment", hex.EncodeToString(f.Commitment[:]))
	v.same("created", f.Created.Unix())
	v.same("plaintext-names", f.Options.PlaintextNames)
	v.same("compress", f.Options.Compress)
	if f.Recovery != nil {
		v.same("recipient", jsonOf(f.Recovery.Recipient))
		v.same("recovery-wrapped", hex.EncodeToString(f.Recovery.Wrapped))
	}
	if b, err := f.Marshal(v.volume()); err != nil || string(b) != string(v.body) {
		v.t.Errorf("is written as %s, %v", b, err)
	}
}

func checkRenameLogVector(v *vector) {
	l, n, err := v.volume().ParseRenameLog(v.body)
	if !v.expect(err) {
		return
	}
	v.same("valid-length", n)
	v.same("base", l.Base())
	v.same("sequence", l.Seq())
	var got []string
	for _, e := range l.Entries() {
		got = append(got, entryLine(e))
	}
	if !slices.Equal(got, v.fields["entry"]) {
		v.t.Errorf("entries %q, want %q", got, v.fields["entry"])
	}
	for _, line := range v.fields["path-at"] {
		var q pathQuery
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			v.t.Fatal(err)
		}
		if was, _ := l.PathAt(q.Path, q.Seq, l.Seq()); was != q.Was {
			v.t.Errorf("%s at %d was %s, want %s", q.Path, q.Seq, was, q.Was)
		}
	}
}

// pathQuery asks a rename log for a path as it was, "" when there is none.
type pathQuery struct {
	Path string `json:"path"`
	Seq  uint64 `json:"sequence"`
	Was  string `json:"was"`
}

// entryLine is a log entry as vectors write it.
func entryLine(e RenameEntry) string {
	return fmt.Sprintf("%d exchange=%v cancel=%v %s %s", e.Seq, e.Exchange, e.Cancel, jsonOf(e.Old), jsonOf(e.New))
}

func checkMountsVector(v *vector) {
	m, err := v.volume().ParseMounts(v.body)
	if !v.expect(err) {
		return
	}
	v.same("current", m.Current())
	if v.fields["last"] != nil {
		v.same("last", m.Last())
	}
	for _, line := range v.fields["unclean"] {
		var id uint64
		var want bool
		if _, err := fmt.Sscanf(line, "%d %t", &id, &want); err != nil {
			v.t.Fatal(err)
		}
		if m.Unclean(id) != want {
			v.t.Errorf("mount %d: unclean is %v", id, !want)
		}
	}
	if string(m.Marshal()) != string(v.body) {
		v.t.Errorf("is written as %x", m.Marshal())
	}
}

func checkContextVector(v *vector) {
	id, err := ParseVolumeID(v.get("volume-id"))
	v.expect(err)
	v.same("volume-context", jsonOf(VolumeContext(id)))
	v.same("file-context", jsonOf(FileContext(id, v.text("path"))))
}
