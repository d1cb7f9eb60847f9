package envelope

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"testing"
)

func base64Std(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// privateKey is the RSA key of the tests and vectors; it protects nothing.
func privateKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile("testdata/recovery-key.pem")
	wantKind(t, err, 0)
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	wantKind(t, err, 0)
	return key.(*rsa.PrivateKey)
}

func recoveryKey(t testing.TB) *RecoveryKey {
	t.Helper()
	k, err := NewRecoveryKey(privateKey(t))
	wantKind(t, err, 0)
	return k
}

func TestRecoveryUnwrapsWhatTheRecipientWrapped(t *testing.T) {
	k := recoveryKey(t)
	data, err := NewDataKey(bytes.Repeat([]byte{1}, KeySize))
	wantKind(t, err, 0)
	wrapped, err := k.Recipient().WrapDataKey(VolumeID{1}, FileID{2}, data)
	wantKind(t, err, 0)
	got, err := k.UnwrapDataKey(VolumeID{1}, FileID{2}, wrapped)
	wantKind(t, err, 0)
	if *got.key != *data.key {
		t.Error("another key comes back")
	}
	vk := volumeKeyOf(t, 3)
	wrappedVolume, err := k.Recipient().WrapVolumeKey(VolumeID{1}, vk)
	wantKind(t, err, 0)
	gotVolume, err := k.UnwrapVolumeKey(VolumeID{1}, wrappedVolume)
	wantKind(t, err, 0)
	if *gotVolume.key != *vk.key {
		t.Error("another volume key comes back")
	}
}

func TestRecoverySlotOfAnotherFileOrVolumeDoesNotUnwrap(t *testing.T) {
	k := recoveryKey(t)
	data, err := NewDataKey(bytes.Repeat([]byte{1}, KeySize))
	wantKind(t, err, 0)
	wrapped, err := k.Recipient().WrapDataKey(VolumeID{1}, FileID{2}, data)
	wantKind(t, err, 0)
	_, err = k.UnwrapDataKey(VolumeID{1}, FileID{3}, wrapped)
	wantKind(t, err, KindWrongKey)
	_, err = k.UnwrapDataKey(VolumeID{2}, FileID{2}, wrapped)
	wantKind(t, err, KindWrongKey)
	_, err = k.UnwrapVolumeKey(VolumeID{1}, wrapped)
	wantKind(t, err, KindWrongKey)
}

func TestWipedRecoveryKeyUnwrapsNothing(t *testing.T) {
	private := privateKey(t)
	k, err := NewRecoveryKey(private)
	wantKind(t, err, 0)
	d := private.D.Bits()
	k.Wipe()
	k.Wipe()
	for _, w := range d {
		if w != 0 {
			t.Fatal("the private exponent is still there")
		}
	}
	_, err = k.UnwrapDataKey(VolumeID{}, FileID{}, make([]byte, 256))
	wantKind(t, err, KindClosed)
	text, err := json.Marshal(k)
	wantKind(t, err, 0)
	if s := fmt.Sprintf("%v %+v %#v %s", k, k, k, text); s != `[redacted] [redacted] [redacted] "[redacted]"` {
		t.Errorf("prints as %s", s)
	}
}

func TestRecipientComesFromBothFormsOfPublicKey(t *testing.T) {
	pub := &privateKey(t).PublicKey
	spki, err := x509.MarshalPKIXPublicKey(pub)
	wantKind(t, err, 0)
	want, err := publicRecipient("test", pub)
	wantKind(t, err, 0)
	for kind, der := range map[string][]byte{"PUBLIC KEY": spki, "RSA PUBLIC KEY": x509.MarshalPKCS1PublicKey(pub)} {
		r, err := ParseRecipientPEM(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
		wantKind(t, err, 0)
		if r.String() != want.String() || r.Tag() != want.Tag() || r.Fingerprint() != want.Fingerprint() {
			t.Errorf("%s: %s, want %s", kind, r, want)
		}
	}
	again, err := ParseRecipient(want.String())
	wantKind(t, err, 0)
	if again.String() != want.String() || again.KeyARN() != "" {
		t.Errorf("%s comes back as %s", want, again)
	}
}

func TestOnlyRSAKeysOfFittingSizeBecomeRecipients(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	wantKind(t, err, 0)
	ec, err := x509.MarshalPKIXPublicKey(&curve.PublicKey)
	wantKind(t, err, 0)
	private, err := x509.MarshalPKCS8PrivateKey(privateKey(t))
	wantKind(t, err, 0)
	small, err := base64.StdEncoding.DecodeString(recipientOf(t, 1024)[len(rsaPrefix):])
	wantKind(t, err, 0)
	for label, block := range map[string]*pem.Block{
		"elliptic curve": {Type: "PUBLIC KEY", Bytes: ec}, "private": {Type: "PRIVATE KEY", Bytes: private}, "1024 bits": {Type: "PUBLIC KEY", Bytes: small},
		"cut off": {Type: "PUBLIC KEY", Bytes: small[:20]}, "PKCS#1 cut off": {Type: "RSA PUBLIC KEY", Bytes: small[:20]}, "empty": {Type: "PUBLIC KEY"},
	} {
		t.Run(label, func(t *testing.T) {
			_, err := ParseRecipientPEM(pem.EncodeToMemory(block))
			wantKind(t, err, KindInvalid)
		})
	}
	_, err = ParseRecipientPEM([]byte("ssh-rsa AAAA"))
	wantKind(t, err, KindInvalid)
	for _, s := range []string{"", "rsa:", "rsa:AAAA", "alias/x", "1234", "arn: x", "RSA:" + base64Std(small)} {
		_, err := ParseRecipient(s)
		wantKind(t, err, KindInvalid)
	}
}

func TestKeyOfAServiceWrapsNothingByItself(t *testing.T) {
	r, err := ParseRecipient("arn:aws:kms:eu-west-1:000000000000:key/recovery")
	wantKind(t, err, 0)
	if r.KeyARN() == "" || r.Fingerprint() != "" {
		t.Errorf("ARN %q, fingerprint %q", r.KeyARN(), r.Fingerprint())
	}
	data, err := NewDataKey(make([]byte, KeySize))
	wantKind(t, err, 0)
	_, err = r.WrapDataKey(VolumeID{}, FileID{}, data)
	wantKind(t, err, KindInvalid)
}

func TestRecoveryLeavesRoomForLinks(t *testing.T) {
	v := volumeWithKey(t, 1)
	for bytesOfKey, want := range map[int]int{0: 16, 184: 15, 256: 15, 512: 13, 1024: 11} {
		var table SlotTable
		if bytesOfKey > 0 {
			table.Slots = append(table.Slots, Slot{Kind: SlotRecovery, Wrapped: make([]byte, bytesOfKey)})
		}
		n := 0
		for ; ; n++ {
			table.Slots = append(table.Slots, Slot{Kind: SlotPath, Wrapped: make([]byte, 184)})
			if _, err := v.SealSlots(FileID{1}, table); err != nil {
				wantKind(t, err, KindSlotsFull)
				break
			}
		}
		if n != want {
			t.Errorf("%d path slots beside a recovery slot of %d bytes, the documentation says %d", n, bytesOfKey, want)
		}
	}
}

func checkRecoveryKeyVector(v *vector) {
	key, err := x509.ParsePKCS8PrivateKey(v.bytes("private-key"))
	wantKind(v.t, err, 0)
	k, err := NewRecoveryKey(key.(*rsa.PrivateKey))
	wantKind(v.t, err, 0)
	id := FileID(v.id("file-id"))
	v.same("recipient", jsonOf(k.Recipient().String()))
	v.same("recovery-context", jsonOf(RecoveryContext(v.volume().id, id)))
	data, err := k.UnwrapDataKey(v.volume().id, id, v.body)
	if v.expect(err) {
		tag := k.Recipient().Tag()
		v.same("tag", hex.EncodeToString(tag[:]))
		v.same("fingerprint", k.Recipient().Fingerprint())
		v.same("data-key", hex.EncodeToString(data.key[:]))
	}
}

func FuzzParseRecipient(f *testing.F) {
	pub := &privateKey(f).PublicKey
	r, err := publicRecipient("test", pub)
	wantKind(f, err, 0)
	f.Add(r.String())
	f.Add("arn:aws:kms:eu-west-1:000000000000:key/recovery")
	f.Add(string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(pub)})))
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRecipient(s); err == nil && r.String() != s {
			t.Errorf("%q is a second spelling of %q", s, r)
		}
		r, err := ParseRecipientPEM([]byte(s))
		if err != nil {
			return
		}
		if again, err := ParseRecipient(r.String()); err != nil || again.Tag() != r.Tag() {
			t.Errorf("%q comes back as %v, %v", r, again, err)
		}
	})
}
