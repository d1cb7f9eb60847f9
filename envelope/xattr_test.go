package envelope

import (
	"bytes"
	"strings"
	"testing"
)

func TestXattrsComeBack(t *testing.T) {
	v := volumeWithKey(t, 1)
	for _, value := range [][]byte{nil, {0}, []byte("text/plain"), bytes.Repeat([]byte{7}, MaxXattrValue)} {
		sealed := v.SealXattr([16]byte{1}, "user.mime", value)
		if len(sealed) > 65536 {
			t.Errorf("%d bytes are stored in %d", len(value), len(sealed))
		}
		got, err := v.OpenXattr([16]byte{1}, "user.mime", sealed)
		wantKind(t, err, 0)
		if !bytes.Equal(got, value) {
			t.Errorf("%d bytes come back as %d", len(value), len(got))
		}
	}
	for _, name := range []string{"user.mime", "a", "security.capability", strings.Repeat("n", 255)} {
		got, err := v.DecryptXattrName(v.EncryptXattrName(name))
		wantKind(t, err, 0)
		if got != name {
			t.Errorf("%q comes back as %q", name, got)
		}
	}
}

func TestForgedXattrsAreRefused(t *testing.T) {
	v, other := volumeWithKey(t, 1), volumeWithKey(t, 2)
	value := []byte("value")
	good := v.SealXattr([16]byte{1}, "user.a", value)
	flipped := append([]byte(nil), good...)
	flipped[30] ^= 1
	for label, sealed := range map[string][]byte{
		"empty":        nil,
		"plain":        value,
		"edited":       flipped,
		"truncated":    good[:len(good)-1],
		"extended":     append(append([]byte(nil), good...), 0),
		"huge":         make([]byte, 1<<20),
		"other name":   v.SealXattr([16]byte{1}, "user.b", value),
		"other object": v.SealXattr([16]byte{2}, "user.a", value),
		"other volume": other.SealXattr([16]byte{1}, "user.a", value),
		"a symlink":    v.symlinks.seal(nil, value, xattrAAD([16]byte{1}, "user.a")),
	} {
		t.Run(label, func(t *testing.T) {
			_, err := v.OpenXattr([16]byte{1}, "user.a", sealed)
			wantKind(t, err, KindCorrupt)
		})
	}
}

func TestForgedXattrNamesAreRefused(t *testing.T) {
	v, other := volumeWithKey(t, 1), volumeWithKey(t, 2)
	good := v.EncryptXattrName("user.a")
	for label, enc := range map[string]string{
		"empty":        "",
		"plain":        "mime",
		"truncated":    good[:len(good)-1],
		"other volume": other.EncryptXattrName("user.a"),
		"a file name":  v.EncryptName(DirID{}, "user.a"),
		"line break":   good + "\n",
	} {
		t.Run(label, func(t *testing.T) {
			_, err := v.DecryptXattrName(enc)
			wantKind(t, err, KindCorrupt)
		})
	}
}
