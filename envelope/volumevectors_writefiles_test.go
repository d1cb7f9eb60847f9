package envelope

import (
	"bytes"
	"encoding/hex"
	"strings"
	"time"
)

func (w *vectorWriter) slots() {
	id := FileID(bytes.Repeat([]byte{0xf1}, 16))
	w.with("file-id", id)
	seal := func(v *Volume, id FileID, t SlotTable) []byte {
		b, err := v.SealSlots(id, t)
		wantKind(w.t, err, 0)
		return b
	}
	one := SlotTable{Version: 1, Slots: []Slot{{Kind: SlotPath, Tag: w.vol.PathTag("/a/b.txt"), Wrapped: bytes.Repeat([]byte{0xee}, 184)}}}
	two := SlotTable{Version: 1<<32 - 1, Slots: []Slot{
		{Kind: SlotPath, KeyIndex: 1, LogSeq: 1 << 40, Dropping: true, Tag: w.vol.PathTag("/a"), Wrapped: []byte{1, 2, 3}},
		{Kind: SlotPath, KeyIndex: 255, Wrapped: []byte{4}},
	}}
	w.write("slots", "none", "ok", "a table without slots", seal(w.vol, id, SlotTable{}), "version", 0)
	w.write("slots", "one", "ok", "a file under one name", seal(w.vol, id, one), "version", 1, "slot", slotLine(one.Slots[0]))
	w.write("slots", "two", "ok", "a slot to be dropped and one of the last key", seal(w.vol, id, two), "version", two.Version,
		"slot", slotLine(two.Slots[0]), "slot", slotLine(two.Slots[1]))
	good := seal(w.vol, id, two)
	body := good[:len(good)-slotMACSize]
	forge := func(b []byte) []byte {
		sum := w.vol.slotMAC(id, b)
		return append(append([]byte(nil), b...), sum[:slotMACSize]...)
	}
	set := func(i int, c byte) []byte {
		b := append([]byte(nil), body...)
		b[i] = c
		return forge(b)
	}
	w.write("slots", "bad-empty", "corrupt", "nothing", nil)
	w.write("slots", "bad-edited", "corrupt", "first bit changed", flipBit(good, 0))
	w.write("slots", "bad-edited-mac", "corrupt", "last bit changed", flipBit(good, len(good)-1))
	w.write("slots", "bad-truncated", "corrupt", "last byte missing", good[:len(good)-1])
	w.write("slots", "bad-other-file", "corrupt", "of another file", seal(w.vol, FileID{1}, two))
	w.write("slots", "bad-other-volume", "corrupt", "of another volume", seal(w.other, id, two))
	w.write("slots", "bad-count", "corrupt", "authentic, but with fewer slots than it says", set(4, 3))
	w.write("slots", "bad-trailing", "corrupt", "authentic, but with a byte after the last slot", forge(append(append([]byte(nil), body...), 0)))
	w.write("slots", "bad-length", "corrupt", "authentic, but a wrapped key reaches beyond the end", set(13, 255))
	w.write("slots", "bad-kind", "unsupported", "authentic, but a slot of unknown kind", set(8, 3))
	w.write("slots", "bad-flag", "unsupported", "authentic, but with an unknown flag", set(10, 2))
	w.write("slots", "bad-reserved", "unsupported", "authentic, but a reserved byte is in use", set(6, 1))
}

func (w *vectorWriter) volumeFiles() {
	w.with()
	file := &VolumeFile{
		ID: w.vol.id, Keys: []string{"arn:aws:kms:eu-central-1:000000000000:key/11111111-2222-3333-4444-555555555555", "arn:aws:kms:eu-central-1:000000000000:key/two"},
		WrappedBy: 0, Wrapped: bytes.Repeat([]byte{0xee}, 184), Options: VolumeOptions{Compress: true},
		Created: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	good, err := file.Marshal(w.vol)
	wantKind(w.t, err, 0)
	w.write("volume-file", "sample", "ok", "a volume with two keys", good, "keys", jsonOf(file.Keys), "wrapped-by", 0, "wrapped", hex.EncodeToString(file.Wrapped),
		"commitment", hex.EncodeToString(file.Commitment[:]), "created", file.Created.Unix(), "plaintext-names", false, "compress", true)
	edit := func(old, new string) []byte { return []byte(strings.Replace(string(good), old, new, 1)) }
	w.write("volume-file", "bad-empty", "truncated", "nothing", nil)
	for _, c := range [][4]string{
		{"option", "corrupt", `"plaintext_names": false`, `"plaintext_names": true`},
		{"key", "corrupt", "key/two", "key/eve"},
		{"wrapped-by", "corrupt", `"wrapped_by": 0`, `"wrapped_by": 1`},
		{"created", "corrupt", "2030", "2031"},
		{"commitment", "wrong key", `"commitment": "`, `"commitment": "AAAA`},
		{"volume-id", "wrong key", "vol-a0", "vol-a1"},
		{"format", "unsupported", `"format": 1`, `"format": 2`},
		{"suite", "unsupported", `"suite": 1`, `"suite": 0`},
		{"unknown-member", "unsupported", `"keys"`, `"legacy": true, "keys"`},
		{"unknown-option", "unsupported", `"compress"`, `"no_mac": true, "compress"`},
		{"spaces", "corrupt", `"suite": 1`, `"suite":  1`},
		{"twice", "corrupt", `  "suite": 1,`, `  "suite": 1,` + "\n" + `  "suite": 1,`},
		{"index", "corrupt", `"wrapped_by": 0`, `"wrapped_by": 2`},
	} {
		b := edit(c[2], c[3])
		if c[0] == "commitment" { // keep its length
			at := strings.Index(string(good), c[2]) + len(c[2])
			b = []byte(string(good[:at]) + "AAAA" + string(good[at+4:]))
		}
		w.write("volume-file", "bad-"+c[0], c[1], "one member changed: "+c[0], b)
	}
	w.write("volume-file", "bad-truncated", "corrupt", "second half missing", good[:len(good)/2])
}

func (w *vectorWriter) renameLogs() {
	w.with()
	l := newLogFile(w.t, w.vol,
		RenameEntry{Old: "/a", New: "/b"}, RenameEntry{Old: "/b/sub", New: "/c d"}, RenameEntry{Old: "/p", New: "/q", Exchange: true},
		RenameEntry{Old: "/p", New: "/q", Exchange: true, Cancel: true}, RenameEntry{Old: "/b", New: "/c d", Exchange: true})
	describe := func(l *RenameLog, n int) []any {
		pairs := []any{"valid-length", n, "base", l.Base(), "sequence", l.Seq()}
		for _, e := range l.Entries() {
			pairs = append(pairs, "entry", entryLine(e))
		}
		for _, q := range []pathQuery{{Path: "/b/f", Seq: 0}, {Path: "/b/f", Seq: 1}, {Path: "/c d/f", Seq: 3}, {Path: "/c d/f", Seq: 4}, {Path: "/c d/f", Seq: 5}, {Path: "/bb/f", Seq: 0}, {Path: "/p/f", Seq: 0}} {
			if q.Seq >= l.Base() {
				q.Was, _ = l.PathAt(q.Path, q.Seq, l.Seq())
				pairs = append(pairs, "path-at", jsonOf(q))
			}
		}
		return pairs
	}
	parsed := func(b []byte) *RenameLog {
		l, _, err := w.vol.ParseRenameLog(b)
		wantKind(w.t, err, 0)
		return l
	}
	w.write("rename-log", "empty", "ok", "no renames yet", nil, describe(w.vol.NewRenameLog(), 0)...)
	w.write("rename-log", "five", "ok", "renames, an exchange, and one cancelled", l.file, describe(l.log, len(l.file))...)
	cut := l.ends[3]
	w.write("rename-log", "torn-short", "ok", "the last append was cut off", l.file[:cut+50], describe(parsed(l.file[:cut]), cut)...)
	zeros := append(append([]byte(nil), l.file[:cut+64]...), make([]byte, len(l.file)-cut-64)...)
	w.write("rename-log", "torn-zeros", "ok", "the end of the last append was not written", zeros, describe(parsed(l.file[:cut]), cut)...)
	small, file, err := l.log.Retired(2)
	wantKind(w.t, err, 0)
	w.write("rename-log", "retired", "ok", "a log whose first two entries are retired", file, describe(small, len(file))...)
	frame := func(i int) []byte { return l.file[append([]int{0}, l.ends...)[i]:l.ends[i]] }
	w.vacated()
	w.write("rename-log", "bad-edited", "corrupt", "a bit of the first entry changed", flipBit(l.file, 70))
	w.write("rename-log", "bad-sequence", "corrupt", "a bit of the first sequence changed", flipBit(l.file, 8))
	w.write("rename-log", "bad-dropped", "corrupt", "the second entry is missing", bytes.Join([][]byte{frame(0), frame(2), frame(3)}, nil))
	w.write("rename-log", "bad-swapped", "corrupt", "the first two entries are swapped", bytes.Join([][]byte{frame(1), frame(0), frame(2)}, nil))
	w.write("rename-log", "bad-repeated", "corrupt", "the first entry stands twice", bytes.Join([][]byte{frame(0), frame(0), frame(1)}, nil))
	w.write("rename-log", "bad-base", "corrupt", "a base frame after an entry", bytes.Join([][]byte{frame(0), file[:128], frame(1)}, nil))
	foreign := newLogFile(w.t, w.other, RenameEntry{Old: "/a", New: "/b"}, RenameEntry{Old: "/b", New: "/c"})
	w.write("rename-log", "bad-other-volume", "corrupt", "of another volume", foreign.file)
	garbage := bytes.Repeat([]byte("garbage."), 32)
	w.write("rename-log", "bad-garbage", "corrupt", "not a rename log", garbage)
}

// vacated writes a log together with questions that have no answer.
func (w *vectorWriter) vacated() {
	l := newLogFile(w.t, w.vol, RenameEntry{Old: "/d", New: "/e"}, RenameEntry{Old: "/f", New: "/d"}, RenameEntry{Old: "/d/s", New: "/s", Exchange: true})
	small, file, err := l.log.Retired(1)
	wantKind(w.t, err, 0)
	pairs := []any{"valid-length", len(file), "base", small.Base(), "sequence", small.Seq()}
	for _, e := range small.Entries() {
		pairs = append(pairs, "entry", entryLine(e))
	}
	for _, q := range []pathQuery{{Path: "/f/x", Seq: 1}, {Path: "/f/x", Seq: 2}, {Path: "/d/x", Seq: 1}, {Path: "/s/x", Seq: 1},
		{Path: "/d/s/x", Seq: 2}, {Path: "/ff/x", Seq: 1}, {Path: "/d/x", Seq: 0}, {Path: "/d/x", Seq: 4}, {Path: "/f", Seq: 1}} {
		q.Was, _ = small.PathAt(q.Path, q.Seq, small.Seq())
		pairs = append(pairs, "path-at", jsonOf(q))
	}
	w.write("rename-log", "vacated", "ok", "paths that a rename has left, that are retired, or that come after the log", file, pairs...)
}

func (w *vectorWriter) mounts() {
	w.with()
	m := w.vol.NewMounts()
	w.write("mounts", "new", "ok", "never mounted", m.Marshal(), "current", 0, "unclean", "1 false")
	w.write("mounts", "live", "ok", "mount 1 is live", m.Begin(1), "current", 1, "unclean", "1 false", "unclean", "2 false")
	m.Begin(2)
	crashed := m.Begin(3)
	w.write("mounts", "crashed", "ok", "mounts 1 and 2 ended uncleanly, 3 is live", crashed, "current", 3, "unclean", "1 true", "unclean", "2 true", "unclean", "3 false", "unclean", "4 false")
	w.write("mounts", "ended", "ok", "the same after the end of 3", m.End(3), "current", 0, "last", 3, "unclean", "2 true", "unclean", "3 false")
	w.write("mounts", "unknown", "ok", "nothing is known but that 5 is live", w.vol.UnknownMounts().Begin(5), "current", 5, "unclean", "5 false", "unclean", "6 true")
	seal := func(b []byte) []byte {
		sum := w.vol.mountsMAC(b)
		return append(b, sum[:mountsMACSize]...)
	}
	forge := func(i int, c byte) []byte {
		b := append([]byte(nil), crashed[:len(crashed)-mountsMACSize]...)
		b[i] = c
		return seal(b)
	}
	endOfNone := make([]byte, mountsHeaderSize)
	endOfNone[0], endOfNone[1] = mountsVersion, mountsEnded
	w.write("mounts", "bad-empty", "truncated", "nothing", nil)
	w.write("mounts", "bad-short", "corrupt", "last byte missing", crashed[:len(crashed)-1])
	w.write("mounts", "bad-edited", "corrupt", "a bit of an unclean mount changed", flipBit(crashed, 16))
	w.write("mounts", "bad-current", "corrupt", "a bit of the live mount changed", flipBit(crashed, 8))
	w.write("mounts", "bad-other-volume", "corrupt", "of another volume", w.other.NewMounts().Begin(1))
	w.write("mounts", "bad-version", "unsupported", "of another version", append([]byte{2}, crashed[1:]...))
	w.write("mounts", "bad-count", "corrupt", "authentic, but the count contradicts the length", forge(2, 1))
	w.write("mounts", "bad-flag", "unsupported", "authentic, but with an unknown flag", forge(1, 4))
	w.write("mounts", "bad-ended", "corrupt", "authentic, but the end of no mount", seal(endOfNone))
}
