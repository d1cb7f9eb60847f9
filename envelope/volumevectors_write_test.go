package envelope

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var writeVectors = flag.Bool("write-vectors", false, "write the vectors that do not exist yet; existing ones are never changed")

// vectorWriter makes the files of testdata/vectors that do not exist yet.
type vectorWriter struct {
	t      *testing.T
	vol    *Volume // key 00 01 02 ... 1f
	other  *Volume // a second volume under the same key
	fields []any
}

func TestWriteVolumeVectors(t *testing.T) {
	if !*writeVectors {
		t.Skip("the vectors are frozen; -write-vectors adds new ones")
	}
	key := make([]byte, KeySize)
	for i := range key {
		key[i] = byte(i)
	}
	k, err := NewVolumeKey(key)
	wantKind(t, err, 0)
	w := &vectorWriter{t: t}
	w.vol, err = NewVolume(VolumeID(bytes.Repeat([]byte{0xa0}, 16)), k)
	wantKind(t, err, 0)
	w.other, err = NewVolume(VolumeID(bytes.Repeat([]byte{0xb0}, 16)), k)
	wantKind(t, err, 0)
	w.names()
	w.directories()
	w.symlinks()
	w.xattrs()
	w.stats()
	w.slots()
	w.volumeFiles()
	w.recovery()
	w.renameLogs()
	w.mounts()
	w.files()
	w.forgedFiles()
	w.crashedFiles()
	w.compressedFiles()
	w.forgedChunks()
}

// with sets what all following vectors have in common, as pairs of key and value.
func (w *vectorWriter) with(pairs ...any) *vectorWriter {
	w.fields = pairs
	return w
}

// write makes one vector: its name begins with its format.
func (w *vectorWriter) write(format, name, expect, comment string, body []byte, pairs ...any) {
	w.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "comment: %s\nformat: %s\nexpect: %s\nvolume-id: %v\n", comment, format, expect, w.vol.id)
	fmt.Fprintf(&b, "volume-key: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n")
	all := append(append([]any(nil), w.fields...), pairs...)
	for i := 0; i < len(all); i += 2 {
		fmt.Fprintf(&b, "%s: %v\n", all[i], all[i+1])
	}
	if len(body) > 0 {
		b.WriteString("\n" + encodeBody(body))
	}
	path := filepath.Join(vectorDir, format+"-"+name+".txt")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if os.IsExist(err) {
		return
	}
	if err == nil {
		_, err = f.WriteString(b.String())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	f.Close()
}

func (w *vectorWriter) names() {
	dir := DirID(bytes.Repeat([]byte{0xd1}, 16))
	w.with("directory", dir)
	for label, name := range map[string]string{
		"short": "a", "text": "report.txt", "block": "exactly16bytes!!", "utf8": "línea", "longest": strings.Repeat("n", 255),
		"longest-in-store": strings.Repeat("n", 175),
	} {
		w.write("name", label, "ok", "a name and its encrypted form", nil, "name", jsonOf(name), "encrypted", jsonOf(w.vol.EncryptName(dir, name)))
	}
	good := w.vol.EncryptName(dir, "report.txt")
	raw, _ := text.DecodeString(good)
	for _, c := range [][3]string{
		{"empty", "nothing", ""},
		{"foreign", "an unencrypted name", "README.md"},
		{"padded", "padding is not allowed", good + "="},
		{"line-break", "decoders that skip line breaks accept this", good[:4] + "\n" + good[4:]},
		{"trailing-bits", "unused bits of the last digit are set", good[:len(good)-1] + string(good[len(good)-1]+1)},
		{"edited-iv", "first bit changed", text.EncodeToString(flipBit(raw, 0))},
		{"edited-end", "last bit changed", text.EncodeToString(flipBit(raw, len(raw)-1))},
		{"truncated", "last byte missing", text.EncodeToString(raw[:len(raw)-1])},
		{"iv-only", "authentic, but of an empty name", w.vol.EncryptName(dir, "")},
		{"dot-dot", "authentic, but not a file name", w.vol.EncryptName(dir, "..")},
		{"slash", "authentic, but not a file name", w.vol.EncryptName(dir, "a/b")},
		{"too-long", "authentic, but of 256 bytes", w.vol.EncryptName(dir, strings.Repeat("n", 256))},
		{"other-directory", "encrypted for another directory", w.vol.EncryptName(DirID{1}, "report.txt")},
		{"other-volume", "encrypted for another volume", w.other.EncryptName(dir, "report.txt")},
	} {
		w.write("name", c[0], "corrupt", c[1], nil, "encrypted", jsonOf(c[2]))
	}
	enc := w.vol.EncryptName(dir, strings.Repeat("n", 176))
	w.with().write("long-name", "176-bytes", "ok", "the store name of an encrypted name over 255 bytes", nil, "encrypted", jsonOf(enc), "store-name", LongName(enc))
}

func (w *vectorWriter) directories() {
	parent, id := DirID(bytes.Repeat([]byte{0xd1}, 16)), DirID(bytes.Repeat([]byte{0xd2}, 16))
	seal := func(v *Volume, p DirID, name string, id DirID) string { return jsonOf(v.SealDir(p, name, id)) }
	w.with().write("directory", "root", "ok", "the root: zero parent, no name", nil, "parent", DirID{}, "name", `""`, "target", seal(w.vol, DirID{}, "", id), "id", id)
	w.with("parent", parent, "name", `"src"`)
	good := w.vol.SealDir(parent, "src", id)
	w.write("directory", "child", "ok", "a directory below another", nil, "target", jsonOf(good), "id", id)
	raw, _ := text.DecodeString(good)
	for _, c := range [][4]string{
		{"other-parent", "moved", "moved from another directory", seal(w.vol, id, "src", id)},
		{"other-name", "moved", "renamed in the store", seal(w.vol, parent, "lib", id)},
		{"other-volume", "moved", "copied from another volume", seal(w.other, parent, "src", id)},
		{"root", "moved", "the root's own", seal(w.vol, DirID{}, "", id)},
		{"edited-id", "moved", "first bit changed", jsonOf(text.EncodeToString(flipBit(raw, 0)))},
		{"edited-mac", "moved", "last bit changed", jsonOf(text.EncodeToString(flipBit(raw, 31)))},
		{"empty", "corrupt", "nothing", `""`},
		{"truncated", "corrupt", "last digit missing", jsonOf(good[:42])},
		{"extended", "corrupt", "three bytes too many", jsonOf(good + "AAAA")},
		{"line-break", "corrupt", "decoders that skip line breaks accept this", jsonOf(good + "\n")},
	} {
		w.write("directory", "bad-"+c[0], c[1], c[2], nil, "target", c[3])
	}
}

func (w *vectorWriter) symlinks() {
	parent := DirID(bytes.Repeat([]byte{0xd1}, 16))
	seal := func(v *Volume, p DirID, name, target string) string {
		s, err := v.SealSymlink(p, name, target)
		wantKind(w.t, err, 0)
		return s
	}
	w.with("parent", parent, "name", `"link"`)
	for label, target := range map[string]string{"relative": "../a/b", "binary": "\x01\x02\n", "longest": strings.Repeat("t", MaxSymlinkTarget)} {
		w.write("symlink", label, "ok", "a symlink's target", nil, "sealed", jsonOf(seal(w.vol, parent, "link", target)), "target", jsonOf(target))
	}
	good := seal(w.vol, parent, "link", "../a/b")
	raw, _ := text.DecodeString(good)
	for _, c := range [][3]string{
		{"plain", "an unencrypted target", "../a/b"},
		{"empty", "nothing", ""},
		{"edited-salt", "first bit changed", text.EncodeToString(flipBit(raw, 0))},
		{"edited-target", "first bit of the ciphertext changed", text.EncodeToString(flipBit(raw, messageSaltSize))},
		{"truncated", "last byte missing", text.EncodeToString(raw[:len(raw)-1])},
		{"padded", "padding is not allowed", good + "="},
		{"other-name", "of another link", seal(w.vol, parent, "other", "../a/b")},
		{"other-directory", "of another directory", seal(w.vol, DirID{1}, "link", "../a/b")},
		{"other-volume", "of another volume", seal(w.other, parent, "link", "../a/b")},
		{"no-target", "authentic, but empty", text.EncodeToString(w.vol.symlinks.seal(nil, nil, symlinkAAD(parent, "link")))},
	} {
		w.write("symlink", "bad-"+c[0], "corrupt", c[1], nil, "sealed", jsonOf(c[2]))
	}
}

func (w *vectorWriter) xattrs() {
	w.with()
	for label, name := range map[string]string{"user": "user.mime_type", "longest": strings.Repeat("n", 255)} {
		w.write("xattr-name", label, "ok", "an attribute's name", nil, "name", jsonOf(name), "encrypted", jsonOf(w.vol.EncryptXattrName(name)))
	}
	w.write("xattr-name", "bad-other-volume", "corrupt", "of another volume", nil, "encrypted", jsonOf(w.other.EncryptXattrName("user.mime_type")))
	w.write("xattr-name", "bad-file-name", "corrupt", "the name of a file", nil, "encrypted", jsonOf(w.vol.EncryptName(DirID{}, "user.mime_type")))
	object := [16]byte(bytes.Repeat([]byte{0xf1}, 16))
	w.with("object", hex.EncodeToString(object[:]), "name", `"user.a"`)
	good := w.vol.SealXattr(object, "user.a", []byte("value"))
	w.write("xattr", "value", "ok", "an attribute's value", good, "value", hex.EncodeToString([]byte("value")))
	w.write("xattr", "no-value", "ok", "an empty value", w.vol.SealXattr(object, "user.a", nil), "value", "")
	w.write("xattr", "bad-edited", "corrupt", "last bit changed", flipBit(good, len(good)-1))
	w.write("xattr", "bad-short", "corrupt", "shorter than any seal", good[:messageOverhead-1])
	w.write("xattr", "bad-other-name", "corrupt", "of another attribute", w.vol.SealXattr(object, "user.b", []byte("value")))
	w.write("xattr", "bad-other-object", "corrupt", "of another file", w.vol.SealXattr([16]byte{1}, "user.a", []byte("value")))
	w.write("xattr", "bad-other-volume", "corrupt", "of another volume", w.other.SealXattr(object, "user.a", []byte("value")))
	w.with().write("path-tag", "file", "ok", "the tag of a path", nil, "path", `"/a/b.txt"`, "tag", fmt.Sprintf("%x", w.vol.PathTag("/a/b.txt")))
	w.write("path-tag", "root", "ok", "the tag of the root", nil, "path", `"/"`, "tag", fmt.Sprintf("%x", w.vol.PathTag("/")))
	w.write("file-context", "path", "ok", "the encryption contexts of a volume and a file", nil, "path", `"/a/b c/é.txt"`,
		"volume-context", jsonOf(VolumeContext(w.vol.id)), "file-context", jsonOf(FileContext(w.vol.id, "/a/b c/é.txt")))
}

func (w *vectorWriter) stats() {
	id := FileID(bytes.Repeat([]byte{0xf1}, 16))
	seal := func(v *Volume, id FileID, seq, size uint64) []byte {
		r := v.SealStat(id, seq, size)
		return r[:]
	}
	w.with("file-id", id, "sequence", 7)
	for _, size := range []uint64{0, 100000, 1 << 44} {
		w.write("stat-record", fmt.Sprint("size-", size), "ok", "the size of a file at a commit", seal(w.vol, id, 7, size), "size", size)
	}
	good := seal(w.vol, id, 7, 5)
	w.write("stat-record", "bad-edited", "corrupt", "last bit changed", flipBit(good, 35))
	w.write("stat-record", "bad-edited-tag", "corrupt", "a bit of the tag beyond the counter changed", flipBit(good, 20))
	w.write("stat-record", "bad-short", "corrupt", "last byte missing", good[:35])
	w.write("stat-record", "bad-other-file", "corrupt", "of another file", seal(w.vol, FileID{1}, 7, 5))
	w.write("stat-record", "bad-other-commit", "corrupt", "of an older commit", seal(w.vol, id, 6, 5))
	w.write("stat-record", "bad-other-volume", "corrupt", "of another volume", seal(w.other, id, 7, 5))
	w.with()
	hint := w.vol.SealHint(id, 7, 0x1122334455667788, 100000)
	w.write("stat-hint", "file", "ok", "a copy of the size outside the file", hint, "file-id", id, "sequence", 7, "mount-id", uint64(0x1122334455667788), "size", 100000)
	durable := w.vol.SealDurableHint(id, 7, 0x1122334455667788, 100000)
	w.write("stat-hint", "durable", "ok", "the same after a flush", durable, "file-id", id, "sequence", 7, "mount-id", uint64(0x1122334455667788), "size", 100000, "durable", true)
	for i, label := range map[int]string{1: "file-id", 17: "sequence", 25: "mount-id", 33: "tag", 49: "size"} {
		w.write("stat-hint", "bad-edited-"+label, "corrupt", "first bit of a field changed", flipBit(hint, i))
	}
	w.write("stat-hint", "bad-empty", "corrupt", "nothing", nil)
	w.write("stat-hint", "bad-short", "corrupt", "last byte missing", hint[:HintSize-1])
	w.write("stat-hint", "bad-version", "unsupported", "of another version", append([]byte{2}, hint[1:]...))
	w.write("stat-hint", "bad-stat-record", "corrupt", "with the stat record of the same commit", append(append([]byte(nil), hint[:33]...), seal(w.vol, id, 7, 100000)...))
	w.write("stat-hint", "bad-other-volume", "corrupt", "of another volume", w.other.SealHint(id, 7, 0x1122334455667788, 100000))
}
