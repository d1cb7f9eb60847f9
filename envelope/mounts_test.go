package envelope

import (
	"encoding/binary"
	"testing"
)

// reparse writes the states out and reads them back, as each mount does.
func reparse(t *testing.T, v *Volume, b []byte) *Mounts {
	t.Helper()
	m, err := v.ParseMounts(b)
	wantKind(t, err, 0)
	return m
}

func TestMountsThatEndWithoutAWordAreUnclean(t *testing.T) {
	v := volumeWithKey(t, 1)
	m := reparse(t, v, v.NewMounts().Begin(1))
	if m.Current() != 1 || m.Unclean(1) || m.Unclean(2) {
		t.Error("the live mount or a mount that never was counts as unclean")
	}
	m = reparse(t, v, m.End(1))
	if m.Current() != 0 || m.Last() != 1 || m.Unclean(1) {
		t.Error("a clean end is not remembered")
	}
	m = reparse(t, v, m.Begin(2))
	m = reparse(t, v, m.Begin(3)) // 2 crashed
	if !m.Unclean(2) || m.Unclean(1) || m.Unclean(3) {
		t.Errorf("after the crash of 2: %v %v %v", m.Unclean(1), m.Unclean(2), m.Unclean(3))
	}
	m = reparse(t, v, m.End(2)) // not the live one
	if m.Current() != 3 {
		t.Error("the end of a dead mount ended the live one")
	}
	m = reparse(t, v, m.End(3))
	if !m.Unclean(2) || m.Unclean(3) {
		t.Error("the crash of 2 is forgotten after a clean mount")
	}
	if m = reparse(t, v, m.Begin(3)); m.Unclean(3) {
		t.Error("beginning again is unclean")
	}
}

func TestTooManyCrashesMakeEveryOtherMountUnclean(t *testing.T) {
	v := volumeWithKey(t, 1)
	m := v.NewMounts()
	for id := uint64(1); id <= MaxUncleanMounts+1; id++ {
		m.Begin(id) // the last one finds MaxUncleanMounts crashed ones
	}
	m = reparse(t, v, m.Marshal())
	if m.Unclean(999999) || !m.Unclean(1) || !m.Unclean(MaxUncleanMounts) {
		t.Error("wrong at the bound")
	}
	m = reparse(t, v, m.Begin(MaxUncleanMounts+2))
	if !m.Unclean(999999) || !m.Unclean(1) || m.Unclean(MaxUncleanMounts+2) {
		t.Error("wrong beyond the bound")
	}
	if n := len(m.Marshal()); n != mountsHeaderSize+mountsMACSize {
		t.Errorf("overflow takes %d bytes", n)
	}
}

func TestReadOnlyMountTakesTheLiveOneForCrashed(t *testing.T) {
	v := volumeWithKey(t, 1)
	file := v.NewMounts().Begin(7)
	m := reparse(t, v, file)
	if m.Unclean(7) {
		t.Fatal("the live mount counts as unclean")
	}
	m.BeginReadOnly()
	m.BeginReadOnly()
	if !m.Unclean(7) || m.Unclean(8) || m.Current() != 0 {
		t.Error("the crash of mount 7 is not noticed")
	}
	m = reparse(t, v, m.End(7))
	m.BeginReadOnly()
	if !m.Unclean(7) {
		t.Error("the crash of mount 7 is forgotten")
	}
}

func TestLostMountStatesMakeEveryOtherMountUnclean(t *testing.T) {
	v := volumeWithKey(t, 1)
	m := reparse(t, v, v.UnknownMounts().Begin(5))
	if !m.Unclean(4) || m.Unclean(5) {
		t.Error("a mount of the lost past counts as clean, or the live one does not")
	}
}

func TestForgedMountStatesAreRefused(t *testing.T) {
	v, other := volumeWithKey(t, 1), volumeWithKey(t, 2)
	m := v.NewMounts()
	m.Begin(1)
	m.Begin(2)
	good := m.Begin(3)
	seal := func(f func(b []byte) []byte) []byte {
		b := f(append([]byte(nil), good[:len(good)-mountsMACSize]...))
		sum := v.mountsMAC(b)
		return append(b, sum[:mountsMACSize]...)
	}
	for label, c := range map[string]struct {
		b    []byte
		want Kind
	}{
		"empty":             {nil, KindTruncated},
		"one byte":          {good[:1], KindCorrupt},
		"truncated":         {good[:len(good)-8], KindCorrupt},
		"extended":          {append(append([]byte(nil), good...), make([]byte, 8)...), KindCorrupt},
		"odd length":        {append(append([]byte(nil), good...), 0), KindCorrupt},
		"huge":              {append([]byte{1}, make([]byte, 1<<20)...), KindCorrupt},
		"other volume":      {other.NewMounts().Begin(3), KindCorrupt},
		"other version":     {append([]byte{2}, good[1:]...), KindUnsupported},
		"authentic count":   {seal(func(b []byte) []byte { b[2] = 1; return b }), KindCorrupt},
		"authentic flag":    {seal(func(b []byte) []byte { b[1] = 4; return b }), KindUnsupported},
		"authentic end":     {seal(func(b []byte) []byte { b[1] = 2; clear(b[8:16]); return b }), KindCorrupt},
		"authentic reserve": {seal(func(b []byte) []byte { b[7] = 1; return b }), KindUnsupported},
	} {
		t.Run(label, func(t *testing.T) {
			_, err := v.ParseMounts(c.b)
			wantKind(t, err, c.want)
		})
	}
	for i := 1; i < len(good); i++ {
		_, err := v.ParseMounts(flipBit(good, i))
		wantKind(t, err, KindCorrupt)
	}
	if binary.LittleEndian.Uint64(good[8:]) != 3 {
		t.Error("the live mount is not at offset 8")
	}
}
