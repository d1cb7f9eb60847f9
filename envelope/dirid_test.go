package envelope

import (
	"encoding/base64"
	"testing"
)

func TestDirectoryIsKnownWhereItWasSealed(t *testing.T) {
	v := volumeWithKey(t, 1)
	for _, c := range []struct {
		parent DirID
		name   string
	}{{DirID{}, ""}, {DirID{7}, "src"}, {NewDirID(), "name\nwith break"}} {
		id := NewDirID()
		target := v.SealDir(c.parent, c.name, id)
		if len(target) != 43 {
			t.Errorf("target %q has %d bytes", target, len(target))
		}
		got, err := v.OpenDir(c.parent, c.name, target)
		wantKind(t, err, 0)
		if got != id {
			t.Errorf("got %v, want %v", got, id)
		}
	}
}

func TestDirectoryMovedInTheStoreIsNoticed(t *testing.T) {
	v, other := volumeWithKey(t, 1), volumeWithKey(t, 2)
	parent, id := DirID{7}, DirID{9}
	target := v.SealDir(parent, "src", id)
	raw, _ := base64.RawURLEncoding.DecodeString(target)
	edit := func(i int) string {
		b := append([]byte(nil), raw...)
		b[i] ^= 1
		return base64.RawURLEncoding.EncodeToString(b)
	}
	// The end of the parent's id and the start of the name must not be interchangeable.
	shifted := DirID(append([]byte{}, append(parent[1:], 's')...))
	for label, c := range map[string]struct {
		vol    *Volume
		parent DirID
		name   string
		target string
		want   Kind
	}{
		"moved to another parent":     {v, DirID{8}, "src", target, KindMoved},
		"renamed":                     {v, parent, "lib", target, KindMoved},
		"made the root":               {v, DirID{}, "", target, KindMoved},
		"shifted":                     {v, shifted, "rc", target, KindMoved},
		"id of another directory":     {v, parent, "src", v.SealDir(parent, "lib", DirID{10}), KindMoved},
		"id edited":                   {v, parent, "src", edit(0), KindMoved},
		"MAC edited":                  {v, parent, "src", edit(31), KindMoved},
		"other volume":                {v, parent, "src", other.SealDir(parent, "src", id), KindMoved},
		"empty":                       {v, parent, "src", "", KindCorrupt},
		"truncated":                   {v, parent, "src", target[:42], KindCorrupt},
		"extended":                    {v, parent, "src", target + "AAAA", KindCorrupt},
		"padded":                      {v, parent, "src", target + "=", KindCorrupt},
		"line break":                  {v, parent, "src", target + "\n", KindCorrupt},
		"other spelling of last byte": {v, parent, "src", target[:42] + string(target[42]+1), KindCorrupt},
	} {
		t.Run(label, func(t *testing.T) {
			got, err := c.vol.OpenDir(c.parent, c.name, c.target)
			wantKind(t, err, c.want)
			if got != (DirID{}) {
				t.Errorf("returns %v with an error", got)
			}
		})
	}
}
