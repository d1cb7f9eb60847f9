package envelope

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// volumeWithKey returns the volume whose key is 32 times fill and whose id is 16 times ^fill.
func volumeWithKey(t testing.TB, fill byte) *Volume {
	t.Helper()
	v, err := NewVolume(VolumeID(bytes.Repeat([]byte{^fill}, 16)), volumeKeyOf(t, fill))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Wipe)
	return v
}

func volumeKeyOf(t testing.TB, fill byte) *VolumeKey {
	t.Helper()
	k, err := NewVolumeKey(bytes.Repeat([]byte{fill}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// wantKind fails the test unless err is an *Error of the kind; 0 wants no error.
func wantKind(t testing.TB, err error, want Kind) {
	t.Helper()
	if want == 0 && err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
	if got := KindOf(err); got != want {
		t.Fatalf("error %v is of kind %v, want %v", err, got, want)
	}
}

func TestVolumeKeyHas32BytesAndIsCopied(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		_, err := NewVolumeKey(make([]byte, n))
		wantKind(t, err, KindInvalid)
	}
	b := bytes.Repeat([]byte{9}, KeySize)
	k, err := NewVolumeKey(b)
	wantKind(t, err, 0)
	clear(b)
	if k.key[0] != 9 {
		t.Error("the key follows the caller's bytes")
	}
	k.Wipe()
	_, err = NewVolume(VolumeID{1}, k)
	wantKind(t, err, KindClosed)
	_, err = NewVolume(VolumeID{1}, nil)
	wantKind(t, err, KindClosed)
}

func TestSecretsNeverPrint(t *testing.T) {
	const fill = 0xa7
	key, v := volumeKeyOf(t, fill), volumeWithKey(t, fill)
	v.EncryptName(DirID{}, "warm the caches")
	secrets := [][]byte{bytes.Repeat([]byte{fill}, 8), v.names.mac.key[:8], v.dirs.key[:8], v.renames.mac.key[:8]}
	for _, x := range []any{key, *key, v, struct{ K *VolumeKey }{key}, []any{v, key}, map[string]any{"v": v}} {
		for _, out := range printed(t, x) {
			for _, s := range secrets {
				low := strings.ToLower(out)
				decimal := strings.Trim(fmt.Sprint(s), "[]")
				if strings.Contains(out, string(s)) || strings.Contains(low, hex.EncodeToString(s)) || strings.Contains(out, decimal) {
					t.Errorf("%T prints key bytes: %s", x, out)
				}
			}
		}
	}
	if got := fmt.Sprintf("%v %s %x %#v", key, key, key, key); got != "[redacted] [redacted] [redacted] [redacted]" {
		t.Errorf("a key prints as %s", got)
	}
	if got := fmt.Sprintf("%v|%+v|%#v|%x", v, v, v, v); strings.Count(got, "volume vol-5858") != 4 {
		t.Errorf("a volume prints as %s", got)
	}
}

// printed returns every way in which Go programs usually show a value.
func printed(t *testing.T, x any) []string {
	t.Helper()
	var out []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out = append(out, fmt.Sprintf(verb, x))
	}
	j, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, string(j))
	for _, h := range []func(*bytes.Buffer) slog.Handler{
		func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(h(&b)).Info("log", "x", x)
		out = append(out, b.String())
	}
	return out
}

func TestEveryPurposeHasItsOwnKey(t *testing.T) {
	seen := map[[KeySize]byte]string{}
	for _, fill := range []byte{1, 2} {
		v := volumeWithKey(t, fill)
		for name, k := range map[string]*[KeySize]byte{
			"commit": &v.commitment, "names": &v.names.mac.key, "xattr names": &v.xattrNames.mac.key,
			"stats": &v.stats.mac.key, "dirs": &v.dirs.key, "path tags": &v.pathTags.key, "slots": &v.slots.key,
			"volume file": &v.volumeFile.key, "mounts": &v.mounts.key, "symlinks": &v.symlinks.mac.key,
			"xattrs": &v.xattrs.mac.key, "renames": &v.renames.mac.key,
		} {
			if other, dup := seen[*k]; dup {
				t.Errorf("%s and %s share a key", name, other)
			}
			seen[*k] = name
		}
	}
	if len(seen) != 24 {
		t.Errorf("%d keys, want 24", len(seen))
	}
}

func TestSameKeyInAnotherVolumeGivesOtherSubkeys(t *testing.T) {
	a, err := NewVolume(VolumeID{1}, volumeKeyOf(t, 7))
	wantKind(t, err, 0)
	b, err := NewVolume(VolumeID{2}, volumeKeyOf(t, 7))
	wantKind(t, err, 0)
	if a.commitment == b.commitment || a.names.mac.key == b.names.mac.key {
		t.Error("the volume id does not enter the derivation")
	}
}

func TestNewIDsAreRandom(t *testing.T) {
	volumes, dirs := map[VolumeID]bool{{}: true}, map[DirID]bool{{}: true}
	for range 3 {
		volumes[NewVolumeID()], dirs[NewDirID()] = true, true
	}
	if len(volumes) != 4 || len(dirs) != 4 {
		t.Error("two new ids are equal, or one is zero")
	}
}

func TestReusedMACEqualsStandardHMAC(t *testing.T) {
	k := &macKey{key: [KeySize]byte{1, 2, 3}}
	msg := bytes.Repeat([]byte("abc"), 700)
	for _, n := range []int{0, 1, 55, 56, 63, 64, 65, 639, 640, 641, 1281, 2100} {
		h := hmac.New(sha256.New, k.key[:])
		h.Write(msg[:n])
		want := h.Sum(nil)
		for range 3 {
			if got := k.mac(msg[:n/3], msg[n/3:n]); !bytes.Equal(got[:], want) {
				t.Fatalf("%d bytes: %x, want %x", n, got, want)
			}
		}
	}
}

func TestWipedVolumeFailsAndHoldsNoKeys(t *testing.T) {
	v := volumeWithKey(t, 0x5c)
	log := v.NewRenameLog()
	mounts := v.NewMounts()
	enc := v.EncryptName(DirID{}, "name")
	rec := v.SealStat(FileID{1}, 1, 1)
	state := v.names.mac.get()
	v.names.mac.put(state)
	digests := byteSlices(state.hash)
	aesState := v.names.enc
	v.Wipe()
	v.Wipe()
	for _, b := range digests {
		if !allZero(b) {
			t.Error("a keyed hash state survives Wipe")
		}
	}
	if !plainMemoryIsZero(aesState) {
		t.Error("an AES key schedule survives Wipe")
	}
	for _, k := range []*macKey{&v.names.mac, &v.xattrNames.mac, &v.stats.mac, &v.dirs, &v.pathTags, &v.slots,
		&v.volumeFile, &v.mounts, &v.symlinks.mac, &v.xattrs.mac, &v.renames.mac} {
		if k.key != [KeySize]byte{} || k.idle != nil {
			t.Error("a subkey survives Wipe")
		}
	}
	checkWiped(t, v, enc, rec[:], log, mounts)
}

// checkWiped calls every method of a wiped volume.
func checkWiped(t *testing.T, v *Volume, enc string, rec []byte, log *RenameLog, mounts *Mounts) {
	t.Helper()
	for _, s := range []string{v.EncryptName(DirID{}, "name"), v.SealDir(DirID{}, "a", DirID{}), v.EncryptXattrName("a")} {
		if s != "" {
			t.Errorf("a wiped volume encrypts to %q", s)
		}
	}
	if v.SealXattr([16]byte{}, "a", nil) != nil || mounts.Begin(3) != nil || v.PathTag("/a") != [16]byte{} ||
		v.SealStat(FileID{}, 1, 1) != [StatRecordSize]byte{} {
		t.Error("a wiped volume seals")
	}
	_, err := v.DecryptName(DirID{}, enc)
	wantKind(t, err, KindClosed)
	_, err = v.OpenDir(DirID{}, "a", strings.Repeat("A", 43))
	wantKind(t, err, KindClosed)
	_, err = v.SealSymlink(DirID{}, "a", "b")
	wantKind(t, err, KindClosed)
	_, err = v.OpenSymlink(DirID{}, "a", "b")
	wantKind(t, err, KindClosed)
	_, err = v.DecryptXattrName(enc)
	wantKind(t, err, KindClosed)
	_, err = v.OpenXattr([16]byte{}, "a", nil)
	wantKind(t, err, KindClosed)
	_, err = v.OpenStat(FileID{1}, 1, rec)
	wantKind(t, err, KindClosed)
	_, err = v.OpenHint(append([]byte{hintVersion}, make([]byte, HintSize-1)...))
	wantKind(t, err, KindClosed)
	_, err = v.SealSlots(FileID{}, SlotTable{})
	wantKind(t, err, KindClosed)
	_, err = v.OpenSlots(FileID{}, make([]byte, 24))
	wantKind(t, err, KindClosed)
	_, err = (&VolumeFile{}).Marshal(v)
	wantKind(t, err, KindClosed)
	_, _, err = v.ParseRenameLog(nil)
	wantKind(t, err, KindClosed)
	_, err = log.Append(RenameEntry{Old: "/a", New: "/b"})
	wantKind(t, err, KindClosed)
	_, _, err = log.Retired(0)
	wantKind(t, err, KindClosed)
	_, err = v.ParseMounts(nil)
	wantKind(t, err, KindClosed)
}

// plainMemoryIsZero reports whether the struct behind v is all zeros.
func plainMemoryIsZero(v any) bool {
	return reflect.ValueOf(v).Elem().IsZero()
}

func TestWipingKnowsTheStandardLibrarysHMAC(t *testing.T) {
	key := [KeySize]byte{1}
	h := newReusableHMAC(&key)
	if len(byteSlices(h)) != 2 {
		t.Fatalf("HMAC keeps its state in %d byte slices, want 2: adapt byteSlices", len(byteSlices(h)))
	}
	if !wipeHash(h) {
		t.Error("wipeHash does not know this HMAC")
	}
}

func TestVolumeIsSafeForConcurrentUse(t *testing.T) {
	v := volumeWithKey(t, 3)
	want := v.EncryptName(DirID{1}, "shared")
	var wg sync.WaitGroup
	for g := range 3 * maxIdleMACs {
		wg.Go(func() {
			for i := range 30 {
				name := fmt.Sprintf("%d-%d", g, i)
				got, err := v.DecryptName(DirID{1}, v.EncryptName(DirID{1}, name))
				if err != nil || got != name || v.EncryptName(DirID{1}, "shared") != want {
					t.Errorf("%q comes back as %q, %v", name, got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestWipeWaitsForRunningOperations(t *testing.T) {
	v := volumeWithKey(t, 3)
	want := v.EncryptName(DirID{1}, "shared")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				switch got := v.EncryptName(DirID{1}, "shared"); got {
				case want:
				case "":
					return
				default:
					t.Errorf("encrypted under a wiped key: %q", got)
					return
				}
			}
		})
	}
	v.Wipe()
	wg.Wait()
}

func TestContextsNameVolumeAndPath(t *testing.T) {
	id := VolumeID{0xab}
	want := map[string]string{"kmsfs:volume-id": "vol-ab000000000000000000000000000000", "kmsfs:path": "/a/b.txt"}
	if got := FileContext(id, "/a/b.txt"); !reflect.DeepEqual(got, want) {
		t.Errorf("file context %v", got)
	}
	delete(want, "kmsfs:path")
	if got := VolumeContext(id); !reflect.DeepEqual(got, want) {
		t.Errorf("volume context %v", got)
	}
}
