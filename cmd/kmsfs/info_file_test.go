package main

import (
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs"
)

func TestSlotsAreShownWithTheirKeys(t *testing.T) {
	v := viewFile(fs.FileInfo{Slots: envelope.SlotTable{Slots: []envelope.Slot{
		{Kind: envelope.SlotPath, KeyIndex: 1, LogSeq: 7, Wrapped: []byte("one")},
		{Kind: envelope.SlotPath, KeyIndex: 9, Dropping: true, Wrapped: []byte("two")},
		{Kind: envelope.SlotRecovery, Wrapped: []byte("three")},
	}}}, []string{"arn:a", "arn:b"})
	for i, want := range []string{"3 bytes, under arn:b, path tag ", "under key 9 of the volume", "for recovery"} {
		if got := v.Slots[i].describe(); !strings.Contains(got, want) {
			t.Errorf("%q, want %q in it", got, want)
		}
	}
	if !strings.HasSuffix(v.Slots[1].describe(), "to be dropped") || !strings.HasSuffix(v.Slots[0].describe(), "at rename 7") {
		t.Errorf("%q, %q", v.Slots[0].describe(), v.Slots[1].describe())
	}
}
