package main

import (
	"strings"
	"testing"
)

const sampleMountinfo = `22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
97 28 0:47 / /home/me/my\040files rw,nosuid,nodev,relatime shared:52 master:1 - fuse.kmsfs /home/me/va\134ult rw,user_id=1000
98 28 0:48 / /plain rw - fuse.kmsfs /vault rw
nonsense
99 28 0:49 / /short
`

func TestMountinfoIsReadWithItsEscapes(t *testing.T) {
	got := readMountinfo(strings.NewReader(sampleMountinfo))
	want := []mountEntry{
		{"/sys", "sysfs", "sysfs"},
		{"/home/me/my files", "fuse.kmsfs", `/home/me/va\ult`},
		{"/plain", "fuse.kmsfs", "/vault"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d entries: %+v", len(got), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("entry %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add(sampleMountinfo)
	f.Add(`1 2 3 4 \0 6 - a \999`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range readMountinfo(strings.NewReader(text)) {
			if m.fsType == "" {
				t.Error("entry without a type")
			}
		}
	})
}
