package envelope

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNamesComeBackFromTheirDirectory(t *testing.T) {
	v := volumeWithKey(t, 1)
	for _, name := range []string{
		"a", "Makefile", ".hidden", "...", "with space", "línea", "\xff\xfe not UTF-8", "new\nline",
		"exactly16bytes!!", "seventeen bytes!!", strings.Repeat("x", MaxNameLen),
	} {
		enc := v.EncryptName(DirID{1}, name)
		if enc != v.EncryptName(DirID{1}, name) {
			t.Errorf("%q encrypts in two ways", name)
		}
		if len(enc) != base64.RawURLEncoding.EncodedLen(16+len(name)) || strings.ContainsAny(enc, "/+=.") {
			t.Errorf("%q encrypts to %q", name, enc)
		}
		got, err := v.DecryptName(DirID{1}, enc)
		wantKind(t, err, 0)
		if got != name {
			t.Errorf("%q comes back as %q", name, got)
		}
		if enc == v.EncryptName(DirID{2}, name) {
			t.Errorf("%q looks the same in two directories", name)
		}
	}
}

func TestForgedNamesAreRefused(t *testing.T) {
	v, other := volumeWithKey(t, 1), volumeWithKey(t, 2)
	enc := v.EncryptName(DirID{1}, "report.txt") // 26 bytes: two bits of padding in the last digit
	raw, _ := base64.RawURLEncoding.DecodeString(enc)
	edit := func(f func(b []byte) []byte) string {
		return base64.RawURLEncoding.EncodeToString(f(append([]byte(nil), raw...)))
	}
	for label, forged := range map[string]string{
		"empty":             "",
		"not base64":        "###",
		"plain file name":   "README.md",
		"padded":            enc + "=",
		"line break":        enc + "\n",
		"line break inside": enc[:4] + "\r\n" + enc[4:],
		"other alphabet":    "////" + enc[4:],
		"trailing bits":     enc[:len(enc)-1] + string(enc[len(enc)-1]+1),
		"too short":         enc[:20],
		"only the IV":       enc[:22],
		"too long":          strings.Repeat("A", 1<<20),
		"one over":          v.EncryptName(DirID{1}, strings.Repeat("x", MaxNameLen+1)),
		"first bit":         edit(func(b []byte) []byte { b[0] ^= 0x80; return b }),
		"last bit":          edit(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
		"truncated":         edit(func(b []byte) []byte { return b[:len(b)-1] }),
		"extended":          edit(func(b []byte) []byte { return append(b, 0) }),
		"other directory":   v.EncryptName(DirID{2}, "report.txt"),
		"other volume":      other.EncryptName(DirID{1}, "report.txt"),
		"as xattr name":     v.EncryptXattrName("report.txt"),
		"authentic dot":     v.EncryptName(DirID{1}, "."),
		"authentic dotdot":  v.EncryptName(DirID{1}, ".."),
		"authentic empty":   v.EncryptName(DirID{1}, ""),
		"authentic slash":   v.EncryptName(DirID{1}, "a/../../b"),
		"authentic zero":    v.EncryptName(DirID{1}, "a\x00b"),
	} {
		t.Run(label, func(t *testing.T) {
			name, err := v.DecryptName(DirID{1}, forged)
			wantKind(t, err, KindCorrupt)
			if name != "" {
				t.Errorf("returns %q with an error", name)
			}
		})
	}
}

func TestErrorsDoNotShowNames(t *testing.T) {
	v := volumeWithKey(t, 1)
	_, err := v.DecryptName(DirID{2}, v.EncryptName(DirID{1}, "salaries"))
	if err == nil || strings.Contains(err.Error(), "salaries") {
		t.Errorf("error %v", err)
	}
}

func TestLongNamesFitTheStore(t *testing.T) {
	v := volumeWithKey(t, 1)
	enc := v.EncryptName(DirID{1}, strings.Repeat("n", 176))
	if len(enc) != 256 {
		t.Fatalf("176 bytes encrypt to %d, the limit in the documentation is wrong", len(enc))
	}
	long := LongName(enc)
	if len(long) != len("kmsfs.long.")+43 || !strings.HasPrefix(long, "kmsfs.long.") || !utf8.ValidString(long) {
		t.Errorf("long name %q", long)
	}
	if long == LongName(v.EncryptName(DirID{1}, strings.Repeat("m", 176))) {
		t.Error("two names share a long name")
	}
}

func TestEncryptNameAllocatesOnlyItsResult(t *testing.T) {
	v := volumeWithKey(t, 1)
	name := strings.Repeat("n", 60)
	enc := v.EncryptName(DirID{1}, name)
	if n := testing.AllocsPerRun(200, func() { v.EncryptName(DirID{1}, name) }); n > 1 {
		t.Errorf("EncryptName makes %v allocations", n)
	}
	if n := testing.AllocsPerRun(200, func() { _, _ = v.DecryptName(DirID{1}, enc) }); n > 1 {
		t.Errorf("DecryptName makes %v allocations", n)
	}
}

func BenchmarkEncryptName(b *testing.B) {
	v := volumeWithKey(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		v.EncryptName(DirID{1}, "some_file_name.go")
	}
}

func BenchmarkDecryptName(b *testing.B) {
	v := volumeWithKey(b, 1)
	enc := v.EncryptName(DirID{1}, "some_file_name.go")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.DecryptName(DirID{1}, enc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncryptNameParallel(b *testing.B) {
	v := volumeWithKey(b, 1)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			v.EncryptName(DirID{1}, "some_file_name.go")
		}
	})
}
