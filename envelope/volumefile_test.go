package envelope

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sampleVolumeFile(v *Volume) *VolumeFile {
	return &VolumeFile{
		ID:        v.ID(),
		Keys:      []string{"arn:aws:kms:eu-central-1:000000000000:key/one", "arn:aws:kms:eu-central-1:000000000000:key/two"},
		WrappedBy: 1,
		Wrapped:   bytes.Repeat([]byte{0xee}, 184),
		Options:   VolumeOptions{Compress: true},
		Created:   time.Date(2030, 1, 2, 3, 4, 5, 678, time.FixedZone("x", 3600)),
	}
}

func marshalled(t *testing.T, f *VolumeFile, v *Volume) []byte {
	t.Helper()
	b, err := f.Marshal(v)
	wantKind(t, err, 0)
	return b
}

func TestVolumeFileComesBackAndOpensTheVolume(t *testing.T) {
	v := volumeWithKey(t, 1)
	want := sampleVolumeFile(v)
	b := marshalled(t, want, v)
	got, err := ParseVolumeFile(b)
	wantKind(t, err, 0)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !got.Created.Equal(time.Date(2030, 1, 2, 2, 4, 5, 0, time.UTC)) {
		t.Errorf("created %v", got.Created)
	}
	again, err := got.Verify(volumeKeyOf(t, 1))
	wantKind(t, err, 0)
	defer again.Wipe()
	if again.EncryptName(DirID{1}, "a") != v.EncryptName(DirID{1}, "a") {
		t.Error("another volume comes back")
	}
}

func TestVolumeFileIsReadable(t *testing.T) {
	v := volumeWithKey(t, 1)
	b := string(marshalled(t, sampleVolumeFile(v), v))
	for _, want := range []string{v.ID().String(), "key/two", "2030-01-02T02:04:05Z", `"compress": true`} {
		if !strings.Contains(b, want) {
			t.Errorf("no %q in %s", want, b)
		}
	}
}

func TestVolumeFileWithAnotherKeyIsTheWrongKey(t *testing.T) {
	v := volumeWithKey(t, 1)
	f, err := ParseVolumeFile(marshalled(t, sampleVolumeFile(v), v))
	wantKind(t, err, 0)
	_, err = f.Verify(volumeKeyOf(t, 2))
	wantKind(t, err, KindWrongKey)
	wiped := volumeKeyOf(t, 1)
	wiped.Wipe()
	_, err = f.Verify(wiped)
	wantKind(t, err, KindClosed)
}

func TestVolumeFileThatCannotBeReadIsNotWritten(t *testing.T) {
	v := volumeWithKey(t, 1)
	for label, edit := range map[string]func(f *VolumeFile){
		"no keys":           func(f *VolumeFile) { f.Keys = nil },
		"too many keys":     func(f *VolumeFile) { f.Keys = strings.Split(strings.Repeat("k,", 256)+"k", ",") },
		"wrapped by left":   func(f *VolumeFile) { f.Keys[1] = "" },
		"no recipient":      func(f *VolumeFile) { f.Recovery = &Recovery{Wrapped: []byte{1}} },
		"no recovery key":   func(f *VolumeFile) { f.Recovery = &Recovery{Recipient: "arn:x"} },
		"key with space":    func(f *VolumeFile) { f.Keys[0] = "a b" },
		"key with quote":    func(f *VolumeFile) { f.Keys[0] = `a"b` },
		"key with slash":    func(f *VolumeFile) { f.Keys[0] = `a\b` },
		"key not ASCII":     func(f *VolumeFile) { f.Keys[0] = "é" },
		"key too long":      func(f *VolumeFile) { f.Keys[0] = strings.Repeat("k", maxKeyARN+1) },
		"wrapped by none":   func(f *VolumeFile) { f.WrappedBy = 2 },
		"wrapped by -1":     func(f *VolumeFile) { f.WrappedBy = -1 },
		"nothing wrapped":   func(f *VolumeFile) { f.Wrapped = nil },
		"too much wrapped":  func(f *VolumeFile) { f.Wrapped = make([]byte, MaxWrapped+1) },
		"no time":           func(f *VolumeFile) { f.Created = time.Time{} },
		"ID of another one": func(f *VolumeFile) { f.ID[0]++ },
	} {
		t.Run(label, func(t *testing.T) {
			f := sampleVolumeFile(v)
			edit(f)
			_, err := f.Marshal(v)
			wantKind(t, err, KindInvalid)
		})
	}
}

func TestVolumeFileOtherThanWrittenIsRefused(t *testing.T) {
	v := volumeWithKey(t, 1)
	good := string(marshalled(t, sampleVolumeFile(v), v))
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q to replace", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for label, c := range map[string]struct {
		text string
		want Kind
	}{
		"empty":              {"", KindTruncated},
		"huge":               {strings.Repeat(" ", MaxVolumeFile+1), KindTooLarge},
		"not JSON":           {"KMSFS", KindCorrupt},
		"other JSON":         {"[]", KindCorrupt},
		"no members":         {"{}", KindCorrupt},
		"null":               {"null", KindCorrupt},
		"deep":               {strings.Repeat("[", 100000), KindCorrupt},
		"truncated":          {good[:len(good)-10], KindCorrupt},
		"later format":       {swap(`"format": 1`, `"format": 2`), KindUnsupported},
		"later suite":        {swap(`"suite": 1`, `"suite": 2`), KindUnsupported},
		"later with members": {`{"format": 2, "suite": 1, "new": {}}`, KindUnsupported},
		"unknown member":     {swap(`"keys"`, `"lenient": true, "keys"`), KindUnsupported},
		"unknown option":     {swap(`"compress"`, `"no_integrity": true, "compress"`), KindUnsupported},
		"missing member":     {swap(`  "wrapped_by": 1,`+"\n", ""), KindCorrupt},
		"member twice":       {swap(`"wrapped_by": 1`, `"wrapped_by": 0, "wrapped_by": 1`), KindCorrupt},
		"member in capitals": {swap(`"wrapped_by"`, `"WRAPPED_BY"`), KindCorrupt},
		"wrong type":         {swap(`"wrapped_by": 1`, `"wrapped_by": "1"`), KindCorrupt},
		"spaces":             {good + " ", KindCorrupt},
		"two documents":      {good + good, KindCorrupt},
		"escaped":            {swap("arn:aws", `\u0061rn:aws`), KindCorrupt},
		"id in capitals":     {swap("vol-fefe", "vol-FEFE"), KindCorrupt},
		"short id":           {swap("vol-fefe", "vol-fe"), KindCorrupt},
		"negative index":     {swap(`"wrapped_by": 1`, `"wrapped_by": -1`), KindCorrupt},
		"local time":         {swap("02:04:05Z", "03:04:05+01:00"), KindCorrupt},
		"no time":            {swap("2030-01-02T02:04:05Z", "yesterday"), KindCorrupt},
		"short MAC":          {swap(`"mac": "`, `"mac": "AAAA`), KindCorrupt},
	} {
		t.Run(label, func(t *testing.T) {
			_, err := ParseVolumeFile([]byte(c.text))
			wantKind(t, err, c.want)
		})
	}
}

func TestEditedVolumeFileIsNoticed(t *testing.T) {
	v, key := volumeWithKey(t, 1), volumeKeyOf(t, 1)
	for label, edit := range map[string]func(f *VolumeFile){
		"plaintext names": func(f *VolumeFile) { f.Options.PlaintextNames = true },
		"no compression":  func(f *VolumeFile) { f.Options.Compress = false },
		"other key":       func(f *VolumeFile) { f.Keys[0] = "arn:aws:kms:eu-central-1:000000000000:key/mallory" },
		"key added":       func(f *VolumeFile) { f.Keys = append(f.Keys, "arn:x") },
		"keys joined":     func(f *VolumeFile) { f.Keys[0], f.Keys[1] = f.Keys[0]+f.Keys[1][:1], f.Keys[1][1:] },
		"keys swapped":    func(f *VolumeFile) { f.Keys[0], f.Keys[1] = f.Keys[1], f.Keys[0] },
		"other wrapper":   func(f *VolumeFile) { f.WrappedBy = 0 },
		"wrapped edited":  func(f *VolumeFile) { f.Wrapped[5] ^= 1 },
		"other time":      func(f *VolumeFile) { f.Created = f.Created.Add(time.Second) },
		"MAC edited":      func(f *VolumeFile) { f.mac[31] ^= 1 },
	} {
		t.Run(label, func(t *testing.T) {
			f, err := ParseVolumeFile(marshalled(t, sampleVolumeFile(v), v))
			wantKind(t, err, 0)
			edit(f)
			f, err = ParseVolumeFile(f.render())
			wantKind(t, err, 0)
			_, err = f.Verify(key)
			wantKind(t, err, KindCorrupt)
		})
	}
	for label, edit := range map[string]func(f *VolumeFile){
		"commitment edited": func(f *VolumeFile) { f.Commitment[0] ^= 1 },
		"id edited":         func(f *VolumeFile) { f.ID[0] ^= 1 }, // another salt: another commitment
	} {
		t.Run(label, func(t *testing.T) {
			f, err := ParseVolumeFile(marshalled(t, sampleVolumeFile(v), v))
			wantKind(t, err, 0)
			edit(f)
			f, err = ParseVolumeFile(f.render())
			wantKind(t, err, 0)
			_, err = f.Verify(key)
			wantKind(t, err, KindWrongKey)
		})
	}
}
