package envelope

import (
	"bytes"
	"math"
	"testing"
)

func TestSizesComeBackFromStatRecordsAndHints(t *testing.T) {
	v := volumeWithKey(t, 1)
	for _, size := range []uint64{0, 1, 4096, 1 << 44, math.MaxUint64} {
		rec := v.SealStat(FileID{1}, 9, size)
		got, err := v.OpenStat(FileID{1}, 9, rec[:])
		wantKind(t, err, 0)
		if got != size {
			t.Errorf("record of %d says %d", size, got)
		}
		want := Hint{FileID: FileID{1}, Sequence: 9, MountID: 5, Size: size}
		h, err := v.OpenHint(v.SealHint(FileID{1}, 9, 5, size))
		wantKind(t, err, 0)
		if h != want {
			t.Errorf("hint %v, want %v", h, want)
		}
	}
}

func TestStatRecordsDoNotShowTheSize(t *testing.T) {
	v := volumeWithKey(t, 1)
	a, b := v.SealStat(FileID{1}, 1, 0), v.SealStat(FileID{1}, 2, 0)
	if bytes.Equal(a[28:], b[28:]) || bytes.Equal(a[28:], make([]byte, 8)) {
		t.Error("two commits of the same size look alike")
	}
}

func TestForgedStatRecordsAreRefused(t *testing.T) {
	v, other := volumeWithKey(t, 1), volumeWithKey(t, 2)
	seal := func(v *Volume, id FileID, seq, size uint64) []byte {
		r := v.SealStat(id, seq, size)
		return r[:]
	}
	good := seal(v, FileID{1}, 9, 100)
	for label, rec := range map[string][]byte{
		"empty":         nil,
		"zeros":         make([]byte, StatRecordSize),
		"truncated":     good[:35],
		"extended":      append(append([]byte(nil), good...), 0),
		"other file":    seal(v, FileID{2}, 9, 100),
		"older commit":  seal(v, FileID{1}, 8, 100),
		"other volume":  seal(other, FileID{1}, 9, 100),
		"from a hint":   v.SealHint(FileID{1}, 9, 0, 100)[hintFixedSize:],
		"edited size":   flipBit(good, 35),
		"edited tag":    flipBit(good, 20),
		"edited stream": flipBit(good, 3),
	} {
		t.Run(label, func(t *testing.T) {
			size, err := v.OpenStat(FileID{1}, 9, rec)
			wantKind(t, err, KindCorrupt)
			if size != 0 {
				t.Errorf("returns %d with an error", size)
			}
		})
	}
}

func TestForgedHintsAreRefused(t *testing.T) {
	v, other := volumeWithKey(t, 1), volumeWithKey(t, 2)
	good := v.SealHint(FileID{1}, 9, 5, 100)
	rec := v.SealStat(FileID{1}, 9, 100)
	for label, c := range map[string]struct {
		b    []byte
		want Kind
	}{
		"empty":            {nil, KindCorrupt},
		"other version":    {append([]byte{2}, good[1:]...), KindUnsupported},
		"truncated":        {good[:HintSize-1], KindCorrupt},
		"extended":         {append(append([]byte(nil), good...), 0), KindCorrupt},
		"other volume":     {other.SealHint(FileID{1}, 9, 5, 100), KindCorrupt},
		"file id edited":   {flipBit(good, 1), KindCorrupt},
		"sequence edited":  {flipBit(good, 17), KindCorrupt},
		"mount id edited":  {flipBit(good, 25), KindCorrupt},
		"size edited":      {flipBit(good, HintSize-1), KindCorrupt},
		"from stat record": {append(append([]byte(nil), good[:hintFixedSize]...), rec[:]...), KindCorrupt},
	} {
		t.Run(label, func(t *testing.T) {
			_, err := v.OpenHint(c.b)
			wantKind(t, err, c.want)
		})
	}
}

// flipBit returns a copy of b with one bit of byte i changed.
func flipBit(b []byte, i int) []byte {
	b = append([]byte(nil), b...)
	b[i] ^= 1
	return b
}
