package envelope

import (
	"strings"
	"testing"
)

func TestSymlinkTargetsComeBack(t *testing.T) {
	v := volumeWithKey(t, 1)
	for _, target := range []string{"x", "../a/b", "/etc/passwd", "\xff\n\x01", strings.Repeat("t", MaxSymlinkTarget)} {
		sealed, err := v.SealSymlink(DirID{1}, "link", target)
		wantKind(t, err, 0)
		if len(sealed) > 4095 {
			t.Errorf("a target of %d bytes is stored in %d", len(target), len(sealed))
		}
		got, err := v.OpenSymlink(DirID{1}, "link", sealed)
		wantKind(t, err, 0)
		if got != target {
			t.Errorf("%q comes back as %q", target, got)
		}
		again, err := v.SealSymlink(DirID{1}, "link", target)
		wantKind(t, err, 0)
		if again == sealed {
			t.Error("two links to the same target can be told to be equal")
		}
	}
}

func TestSymlinkTargetsThatCannotBeStoredAreRefused(t *testing.T) {
	v := volumeWithKey(t, 1)
	_, err := v.SealSymlink(DirID{1}, "link", strings.Repeat("t", MaxSymlinkTarget+1))
	wantKind(t, err, KindTooLong)
	_, err = v.SealSymlink(DirID{1}, "link", "")
	wantKind(t, err, KindInvalid)
}

func TestForgedSymlinksAreRefused(t *testing.T) {
	v, other := volumeWithKey(t, 1), volumeWithKey(t, 2)
	seal := func(v *Volume, parent DirID, name, target string) string {
		s, err := v.SealSymlink(parent, name, target)
		wantKind(t, err, 0)
		return s
	}
	good := seal(v, DirID{1}, "link", "target")
	flipped := []byte(good)
	flipped[40] = 'A' + (flipped[40]-'A'+1)%26
	for label, sealed := range map[string]string{
		"empty":           "",
		"plain target":    "../a/b",
		"edited":          string(flipped),
		"truncated":       good[:len(good)-4],
		"extended":        good + "AAAA",
		"padded":          good + "==",
		"line break":      good + "\n",
		"huge":            strings.Repeat("A", 1<<20),
		"other name":      seal(v, DirID{1}, "other", "target"),
		"other directory": seal(v, DirID{2}, "link", "target"),
		"other volume":    seal(other, DirID{1}, "link", "target"),
		"only the seal":   text.EncodeToString(v.symlinks.seal(nil, nil, symlinkAAD(DirID{1}, "link"))),
	} {
		t.Run(label, func(t *testing.T) {
			got, err := v.OpenSymlink(DirID{1}, "link", sealed)
			wantKind(t, err, KindCorrupt)
			if got != "" {
				t.Errorf("returns %q with an error", got)
			}
		})
	}
}
