package fs

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/envelope"
)

func testVolume(t *testing.T, plaintextNames bool) *volume {
	t.Helper()
	key, err := envelope.NewVolumeKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	crypto, err := envelope.NewVolume(envelope.NewVolumeID(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &volume{crypto: crypto, info: VolumeInfo{PlaintextNames: plaintextNames}}
}

func TestNamesComeBackFromTheStore(t *testing.T) {
	dir := envelope.NewDirID()
	for _, plain := range []bool{false, true} {
		v := testVolume(t, plain)
		for _, name := range []string{
			"a", "with space", "ünïcode", "\x01\xff\n", "kmsfs.volume", "kmsfs.dir", "kmsfs.tmp-x", "kmsfs.long.x",
			"kmsfs.esc-x", "kmsfs", ".hidden", strings.Repeat("n", 240), strings.Repeat("m", 255),
		} {
			sn, err := v.storeName(dir, name)
			if err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			if len(sn.name) > 255 {
				t.Errorf("%q: store name of %d bytes", name, len(sn.name))
			}
			readlink := func(string) (string, error) { return sn.long, nil }
			got, ok, err := v.plainName(dir, sn.name, readlink)
			if got != name || !ok || err != nil {
				t.Errorf("plaintext names %v: %q came back as %q, %v, %v", plain, name, got, ok, err)
			}
		}
	}
}

func TestOwnNamesAreNotListed(t *testing.T) {
	for _, plain := range []bool{false, true} {
		v := testVolume(t, plain)
		for _, own := range []string{volumeName, dirLink, dirLinkNew, envelope.MountsFile, envelope.RenameLogFile, tempPrefix + "x"} {
			if name, ok, err := v.plainName(envelope.DirID{}, own, nil); ok || err != nil {
				t.Errorf("%q is listed as %q (%v)", own, name, err)
			}
		}
	}
}

func TestNamesTooLongForLinuxAreRefused(t *testing.T) {
	for _, plain := range []bool{false, true} {
		v := testVolume(t, plain)
		if _, err := v.storeName(envelope.DirID{}, strings.Repeat("x", 256)); !errors.Is(err, syscall.ENAMETOOLONG) {
			t.Errorf("got %v", err)
		}
	}
}

func TestForeignNamesAreErrors(t *testing.T) {
	v := testVolume(t, false)
	dir, other := envelope.NewDirID(), envelope.NewDirID()
	sn, _ := v.storeName(other, "moved here")
	long, _ := v.storeName(dir, strings.Repeat("l", 255))
	for name, link := range map[string]string{"README": "", sn.name: "", long.name: "x" + long.long} {
		if got, ok, err := v.plainName(dir, name, func(string) (string, error) { return link, nil }); ok || err == nil {
			t.Errorf("%q passed as %q", name, got)
		}
	}
}
