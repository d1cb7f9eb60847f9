package main

import (
	"bytes"
	"testing"

	"github.com/kmsfs/kmsfs/envelope"
)

// sealSlots makes a slot area as the filesystem does.
func sealSlots(t testing.TB, table envelope.SlotTable) []byte {
	t.Helper()
	key, err := envelope.NewVolumeKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	v, err := envelope.NewVolume(envelope.NewVolumeID(), key)
	if err != nil {
		t.Fatal(err)
	}
	area, err := v.SealSlots(envelope.FileID{1}, table)
	if err != nil {
		t.Fatal(err)
	}
	return area
}

func TestSlotsAreReadWithoutAnyKey(t *testing.T) {
	area := sealSlots(t, envelope.SlotTable{Version: 3, Slots: []envelope.Slot{
		{Kind: envelope.SlotPath, KeyIndex: 0, Wrapped: []byte("first wrapped key")},
		{Kind: envelope.SlotPath, KeyIndex: 2, Wrapped: []byte("second")},
	}})
	slots, err := readSlots(area)
	if err != nil || len(slots) != 2 {
		t.Fatalf("%d slots, %v", len(slots), err)
	}
	if string(slots[0].Wrapped) != "first wrapped key" || string(slots[1].Wrapped) != "second" || slots[1].KeyIndex != 2 {
		t.Errorf("%+v", slots)
	}
}

func FuzzReadSlots(f *testing.F) {
	f.Add(sealSlots(f, envelope.SlotTable{Slots: []envelope.Slot{{Kind: envelope.SlotPath, Wrapped: []byte("w")}}}))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, area []byte) {
		slots, err := readSlots(area)
		for _, s := range slots {
			if err == nil && len(s.Wrapped) > len(area) {
				t.Error("a wrapped key longer than the area")
			}
		}
	})
}
