package envelope

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
)

// twoSlots is a table with one of everything.
func twoSlots(v *Volume) SlotTable {
	return SlotTable{Version: 7, Slots: []Slot{
		{Kind: SlotPath, KeyIndex: 3, LogSeq: 1 << 40, Tag: v.PathTag("/a/b"), Wrapped: bytes.Repeat([]byte{1}, 184)},
		{Kind: SlotPath, KeyIndex: 255, Dropping: true, Wrapped: []byte{9}},
		{Kind: SlotRecovery, Tag: [16]byte{7}, Wrapped: []byte{8}},
	}}
}

func TestSlotTablesComeBack(t *testing.T) {
	v := volumeWithKey(t, 1)
	for _, table := range []SlotTable{{}, {Version: 1 << 31}, twoSlots(v)} {
		area, err := v.SealSlots(FileID{1}, table)
		wantKind(t, err, 0)
		got, err := v.OpenSlots(FileID{1}, area)
		wantKind(t, err, 0)
		if !reflect.DeepEqual(got, table) {
			t.Errorf("got %+v, want %+v", got, table)
		}
		if binary.LittleEndian.Uint32(area) != table.Version {
			t.Error("the area does not begin with the version")
		}
	}
}

func TestSlotTableDoesNotAliasTheArea(t *testing.T) {
	v := volumeWithKey(t, 1)
	area, err := v.SealSlots(FileID{1}, twoSlots(v))
	wantKind(t, err, 0)
	got, err := v.OpenSlots(FileID{1}, area)
	wantKind(t, err, 0)
	clear(area)
	if !reflect.DeepEqual(got, twoSlots(v)) {
		t.Error("the table changes with the page it was read from")
	}
}

func TestSlotTablesHaveARoomLimit(t *testing.T) {
	v := volumeWithKey(t, 1)
	table := SlotTable{}
	for n := 1; ; n++ {
		table.Slots = append(table.Slots, Slot{Kind: SlotPath, Wrapped: make([]byte, 184)})
		area, err := v.SealSlots(FileID{1}, table)
		if err != nil {
			wantKind(t, err, KindSlotsFull)
			if n-1 != 16 {
				t.Errorf("%d slots of 184 bytes fit, the documentation says 16", n-1)
			}
			return
		}
		if len(area) > MaxSlotArea {
			t.Fatalf("%d slots take %d bytes", n, len(area))
		}
	}
}

func TestSlotsThatCannotBeReadAreNotWritten(t *testing.T) {
	v := volumeWithKey(t, 1)
	for label, s := range map[string]Slot{
		"no kind":        {Wrapped: []byte{1}},
		"unknown kind":   {Kind: 3, Wrapped: []byte{1}},
		"no wrapped key": {Kind: SlotPath},
		"too long a key": {Kind: SlotPath, Wrapped: make([]byte, MaxWrapped+1)},
	} {
		t.Run(label, func(t *testing.T) {
			_, err := v.SealSlots(FileID{1}, SlotTable{Slots: []Slot{s}})
			wantKind(t, err, KindInvalid)
		})
	}
}

// sealRaw authenticates any bytes as a slot area of file {1}.
func sealRaw(v *Volume, b []byte) []byte {
	id := FileID{1}
	sum := v.slotMAC(id, b)
	return append(append([]byte(nil), b...), sum[:slotMACSize]...)
}

func TestForgedSlotTablesAreRefused(t *testing.T) {
	v, other := volumeWithKey(t, 1), volumeWithKey(t, 2)
	area, err := v.SealSlots(FileID{1}, twoSlots(v))
	wantKind(t, err, 0)
	foreign, err := other.SealSlots(FileID{1}, twoSlots(v))
	wantKind(t, err, 0)
	copied, err := v.SealSlots(FileID{2}, twoSlots(v))
	wantKind(t, err, 0)
	forged := map[string][]byte{
		"empty": nil, "short": area[:23], "huge": make([]byte, 1<<20), "other volume": foreign, "other file": copied,
		"truncated": area[:len(area)-1], "extended": append(append([]byte(nil), area...), 0),
	}
	for label, b := range forged {
		t.Run(label, func(t *testing.T) {
			_, err := v.OpenSlots(FileID{1}, b)
			wantKind(t, err, KindCorrupt)
		})
	}
	for i := range area {
		_, err := v.OpenSlots(FileID{1}, flipBit(area, i))
		wantKind(t, err, KindCorrupt)
	}
}

func TestAuthenticSlotTablesOfOtherFormsAreRefused(t *testing.T) {
	v := volumeWithKey(t, 1)
	area, err := v.SealSlots(FileID{1}, twoSlots(v))
	wantKind(t, err, 0)
	body := area[:len(area)-slotMACSize]
	set := func(i int, c byte) []byte {
		b := append([]byte(nil), body...)
		b[i] = c
		return sealRaw(v, b)
	}
	for label, c := range map[string]struct {
		area []byte
		want Kind
	}{
		"one slot more":     {set(4, 4), KindCorrupt},
		"one slot fewer":    {set(4, 2), KindCorrupt},
		"65535 slots":       {sealRaw(v, []byte{0, 0, 0, 0, 255, 255, 0, 0}), KindCorrupt},
		"trailing byte":     {sealRaw(v, append(append([]byte(nil), body...), 0)), KindCorrupt},
		"reserved header":   {set(7, 1), KindUnsupported},
		"reserved slot":     {set(11, 1), KindUnsupported},
		"unknown kind":      {set(8, 9), KindUnsupported},
		"unknown flag":      {set(10, 2), KindUnsupported},
		"wrapped too long":  {set(13, 255), KindCorrupt},
		"wrapped of 0":      {set(12, 0), KindCorrupt},
		"reserved length":   {set(15, 1), KindUnsupported},
		"cut inside a slot": {sealRaw(v, body[:40]), KindCorrupt},
	} {
		t.Run(label, func(t *testing.T) {
			_, err := v.OpenSlots(FileID{1}, c.area)
			wantKind(t, err, c.want)
		})
	}
}

func TestPathTagsTellPathsApart(t *testing.T) {
	v, other := volumeWithKey(t, 1), volumeWithKey(t, 2)
	tag := v.PathTag("/a/b")
	if tag != v.PathTag("/a/b") || tag == v.PathTag("/a/c") || tag == other.PathTag("/a/b") || tag == [16]byte{} {
		t.Error("path tag is not a keyed function of the path")
	}
}
