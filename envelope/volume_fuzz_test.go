package envelope

import (
	"bytes"
	"reflect"
	"testing"
)

// Parsers that demand a MAC reject nearly everything a fuzzer invents, so each target takes the
// input twice: as it is, and under a valid seal.

func FuzzDecryptName(f *testing.F) {
	v := volumeWithKey(f, 1)
	f.Add(v.EncryptName(DirID{1}, "name"))
	f.Add("not\nbase64")
	f.Fuzz(func(t *testing.T, s string) {
		if name, err := v.DecryptName(DirID{1}, s); err == nil && v.EncryptName(DirID{1}, name) != s {
			t.Errorf("%q is a second spelling of %q", s, name)
		}
		name, err := v.DecryptName(DirID{1}, v.EncryptName(DirID{1}, s))
		if validName(s) != (err == nil) || err == nil && name != s {
			t.Errorf("%q comes back as %q, %v", s, name, err)
		}
		if name, err := v.DecryptXattrName(v.EncryptXattrName(s)); (len(s) <= MaxNameLen) != (err == nil) || err == nil && name != s {
			t.Errorf("xattr %q comes back as %q, %v", s, name, err)
		}
	})
}

func FuzzOpenDir(f *testing.F) {
	v := volumeWithKey(f, 1)
	f.Add("name", v.SealDir(DirID{1}, "name", DirID{2}))
	f.Add("name", "")
	f.Fuzz(func(t *testing.T, name, target string) {
		if id, err := v.OpenDir(DirID{1}, name, target); err == nil && v.SealDir(DirID{1}, name, id) != target {
			t.Errorf("%q is a second spelling of %v", target, id)
		}
		id, err := v.OpenDir(DirID{1}, name, v.SealDir(DirID{1}, name, DirID{2}))
		if err != nil || id != (DirID{2}) {
			t.Errorf("under %q: %v, %v", name, id, err)
		}
	})
}

func FuzzOpenSymlink(f *testing.F) {
	v := volumeWithKey(f, 1)
	good, err := v.SealSymlink(DirID{1}, "name", "target")
	wantKind(f, err, 0)
	f.Add("name", good)
	f.Add("name", "../target")
	f.Fuzz(func(t *testing.T, name, s string) {
		if target, err := v.OpenSymlink(DirID{1}, name, s); err == nil && target != "target" {
			t.Errorf("forged: %q opens to %q", s, target)
		}
		sealed, err := v.SealSymlink(DirID{1}, name, s)
		if (err == nil) != (s != "" && len(s) <= MaxSymlinkTarget) {
			t.Fatalf("%d bytes: %v", len(s), err)
		}
		if err != nil {
			return
		}
		if got, err := v.OpenSymlink(DirID{1}, name, sealed); err != nil || got != s {
			t.Errorf("%q comes back as %q, %v", s, got, err)
		}
	})
}

func FuzzOpenSlots(f *testing.F) {
	v := volumeWithKey(f, 1)
	area, err := v.SealSlots(FileID{1}, twoSlots(v))
	wantKind(f, err, 0)
	f.Add(area)
	f.Add(area[:len(area)-slotMACSize])
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, area := range [][]byte{b, sealRaw(v, b)} {
			table, err := v.OpenSlots(FileID{1}, area)
			if err != nil {
				continue
			}
			again, err := v.SealSlots(FileID{1}, table)
			if err != nil || !bytes.Equal(again, area) {
				t.Errorf("%x is a second spelling of %+v, %v", area, table, err)
			}
		}
	})
}

func FuzzOpenHint(f *testing.F) {
	v := volumeWithKey(f, 1)
	f.Add(v.SealHint(FileID{1}, 2, 3, 4))
	rec := v.SealStat(FileID{1}, 2, 4)
	f.Add(rec[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := v.OpenHint(b); err == nil && !bytes.Equal(v.SealHint(h.FileID, h.Sequence, h.MountID, h.Size), b) {
			t.Errorf("%x is a second spelling of %+v", b, h)
		}
		if size, err := v.OpenStat(FileID{1}, 2, b); err == nil {
			if again := v.SealStat(FileID{1}, 2, size); !bytes.Equal(again[:], b) {
				t.Errorf("%x is a second spelling of %d", b, size)
			}
		}
	})
}

func FuzzOpenXattr(f *testing.F) {
	v := volumeWithKey(f, 1)
	f.Add("user.a", v.SealXattr([16]byte{1}, "user.a", []byte("value")))
	f.Add("user.a", []byte{})
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		if value, err := v.OpenXattr([16]byte{1}, name, b); err == nil && string(value) != "value" {
			t.Errorf("forged: %x opens to %x", b, value)
		}
		value, err := v.OpenXattr([16]byte{1}, name, v.SealXattr([16]byte{1}, name, b))
		if (len(b) <= MaxXattrValue) != (err == nil) || err == nil && !bytes.Equal(value, b) {
			t.Errorf("%x comes back as %x, %v", b, value, err)
		}
	})
}

func FuzzParseVolumeFile(f *testing.F) {
	v, key := volumeWithKey(f, 1), volumeKeyOf(f, 1)
	good, err := sampleVolumeFile(v).Marshal(v)
	wantKind(f, err, 0)
	recovered := sampleVolumeFile(v)
	recovered.Keys[0], recovered.Recovery = "", &Recovery{Recipient: recoveryKey(f).Recipient().String(), Wrapped: []byte{1}}
	withRecovery, err := recovered.Marshal(v)
	wantKind(f, err, 0)
	f.Add(good)
	f.Add(withRecovery)
	f.Add([]byte(`{"format": 2, "suite": 1}`))
	f.Add(bytes.Replace(good, []byte(`"compress"`), []byte(`"x": 1, "compress"`), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := ParseVolumeFile(b)
		if err != nil {
			return
		}
		if !bytes.Equal(file.render(), b) {
			t.Errorf("a second spelling: %s", b)
		}
		if vol, err := file.Verify(key); err == nil {
			vol.Wipe()
			if !bytes.Equal(b, good) && !bytes.Equal(b, withRecovery) {
				t.Errorf("forged: %s", b)
			}
		}
		file.ID = v.ID()
		if _, err := file.Marshal(v); err != nil {
			t.Errorf("what was parsed can't be written: %v", err)
		}
	})
}

func FuzzParseRenameLog(f *testing.F) {
	v := volumeWithKey(f, 1)
	l := newLogFile(f, v, RenameEntry{Old: "/a", New: "/b"}, RenameEntry{Old: "/b", New: "/c"})
	_, base, err := l.log.Retired(1)
	wantKind(f, err, 0)
	f.Add(l.file, []byte("/x"))
	f.Add(base, encodeRename(frameCancel, "/a", "/b"))
	f.Add(l.file[:200], encodeRename(frameExchange, "/a", "/b"))
	f.Add(make([]byte, 128), encodeRename(frameBase, "", ""))
	f.Fuzz(func(t *testing.T, b, plain []byte) {
		log, n, err := v.ParseRenameLog(b)
		if err == nil && (n < 0 || n > int64(len(b)) || log.Seq() > 2 || !reflect.DeepEqual(log.Entries(), l.log.Entries()[log.Base():log.Seq()])) {
			t.Errorf("forged: %d bytes valid, entries %+v", n, log.Entries())
		}
		if len(plain) < framePlainSize || len(plain) > maxFrame {
			return
		}
		frame := v.sealFrame(1, plain, [tagSize]byte{})
		log, n, err = v.ParseRenameLog(frame)
		if err != nil || n == 0 || log.Base() != 0 {
			return
		}
		e := log.Entries()[0]
		flags := boolByte(e.Exchange)*frameExchange | boolByte(e.Cancel)*frameCancel
		if !bytes.Equal(encodeRename(flags, e.Old, e.New), plain) {
			t.Errorf("%x is a second spelling of %+v", plain, e)
		}
		log.PathAt(e.New+"/f", 0, log.Seq())
	})
}

func FuzzParseMounts(f *testing.F) {
	v := volumeWithKey(f, 1)
	m := v.NewMounts()
	m.Begin(1)
	good := m.Begin(2)
	f.Add(good)
	f.Add(good[:len(good)-mountsMACSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := v.mountsMAC(b)
		sealed := append(bytes.Clone(b), sum[:mountsMACSize]...)
		for _, file := range [][]byte{b, sealed} {
			if m, err := v.ParseMounts(file); err == nil && !bytes.Equal(m.Marshal(), file) {
				t.Errorf("%x is a second spelling", file)
			}
		}
	})
}
