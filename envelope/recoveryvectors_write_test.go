package envelope

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"time"
)

// recovery writes the vectors of recovery slots, of the volume file's member, and of RSAES-OAEP.
func (w *vectorWriter) recovery() {
	key := recoveryKey(w.t)
	w.recoverySlots(key.Recipient())
	w.recoveryVolumeFiles(key.Recipient())
	w.wrappedForRecovery(key)
}

func (w *vectorWriter) recoverySlots(r *Recipient) {
	id := FileID(bytes.Repeat([]byte{0xf1}, 16))
	w.with("file-id", id)
	path := Slot{Kind: SlotPath, KeyIndex: 1, LogSeq: 3, Tag: w.vol.PathTag("/a"), Wrapped: []byte{1, 2, 3}}
	recovery := r.Slot(bytes.Repeat([]byte{0xcc}, 256))
	good, err := w.vol.SealSlots(id, SlotTable{Version: 9, Slots: []Slot{path, recovery}})
	wantKind(w.t, err, 0)
	w.write("slots", "recovery", "ok", "a path and an RSA recipient", good, "version", 9, "slot", slotLine(path), "slot", slotLine(recovery))
	forge := func(slots ...Slot) []byte {
		b := encodeSlots(nil, SlotTable{Version: 9, Slots: slots})
		sum := w.vol.slotMAC(id, b)
		return append(b, sum[:slotMACSize]...)
	}
	edited := func(edit func(*Slot)) []byte {
		s := recovery
		edit(&s)
		return forge(path, s)
	}
	w.write("slots", "bad-recovery-twice", "unsupported", "authentic, but with two recovery slots", forge(recovery, path, recovery))
	w.write("slots", "bad-recovery-key-index", "unsupported", "authentic, but a recovery slot names a key", edited(func(s *Slot) { s.KeyIndex = 1 }))
	w.write("slots", "bad-recovery-dropping", "unsupported", "authentic, but a recovery slot is to be dropped", edited(func(s *Slot) { s.Dropping = true }))
	w.write("slots", "bad-recovery-sequence", "unsupported", "authentic, but a recovery slot has a sequence", edited(func(s *Slot) { s.LogSeq = 1 }))
}

func (w *vectorWriter) recoveryVolumeFiles(r *Recipient) {
	w.with()
	file := func(recipient string) *VolumeFile {
		return &VolumeFile{
			ID: w.vol.id, Keys: []string{"", "arn:aws:kms:eu-central-1:000000000000:key/two", ""},
			WrappedBy: 1, Wrapped: bytes.Repeat([]byte{0xee}, 184), Created: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
			Recovery: &Recovery{Recipient: recipient, Wrapped: bytes.Repeat([]byte{0xcc}, 256)},
		}
	}
	write := func(name, recipient string) string {
		f := file(recipient)
		b, err := f.Marshal(w.vol)
		wantKind(w.t, err, 0)
		w.write("volume-file", name, "ok", "a volume with recovery, and two keys that have left it", b, "keys", jsonOf(f.Keys), "wrapped-by", 1,
			"wrapped", hex.EncodeToString(f.Wrapped), "commitment", hex.EncodeToString(f.Commitment[:]), "created", f.Created.Unix(),
			"plaintext-names", false, "compress", false, "recipient", jsonOf(recipient), "recovery-wrapped", hex.EncodeToString(f.Recovery.Wrapped))
		return string(b)
	}
	arn := "arn:aws:kms:eu-west-1:000000000000:key/recovery"
	write("recovery-arn", arn)
	good := write("recovery-rsa", r.String())
	_, member, _ := strings.Cut(good, "  \"recovery\": {")
	member, _, _ = strings.Cut(member, "},\n")
	member = "  \"recovery\": {" + member + "},\n"
	edit := func(old, new string) []byte { return []byte(strings.Replace(good, old, new, 1)) }
	forged := func(recipient string, wrapped []byte) []byte {
		f := file(recipient)
		f.Format, f.Suite, f.Commitment = VolumeFormat, SuiteAES256GCM, w.vol.commitment
		f.Recovery.Wrapped = wrapped
		f.mac = w.vol.volumeFile.mac(f.canonical())
		return f.render()
	}
	for name, body := range map[string][]byte{
		"dropped": edit(member, ""), "recipient": edit(r.String(), arn), "wrapped": edit(`"wrapped_key": "zM`, `"wrapped_key": "zN`),
		"null": edit(member, "  \"recovery\": null,\n"), "before-commitment": edit("  \"commitment\"", member+"  \"commitment\""),
		"no-recipient": forged("", []byte{1}), "alias": forged("alias/x", []byte{1}), "nothing-wrapped": forged(arn, nil),
		"small-rsa": forged(recipientOf(w.t, 1024), []byte{1}), "padding": forged(r.String()+"=", []byte{1}), "left-key": []byte(strings.Replace(good, `"wrapped_by": 1`, `"wrapped_by": 0`, 1)),
	} {
		w.write("volume-file", "bad-recovery-"+name, "corrupt", "recovery: "+name, body)
	}
	w.write("volume-file", "bad-recovery-unknown", "unsupported", "recovery: an unknown member", edit(`    "recipient"`, "    \"threshold\": 2,\n    \"recipient\""))
}

// recipientOf is the text form of a new RSA key, of any size.
func recipientOf(t interface{ Fatal(...any) }, bits int) string {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return rsaPrefix + base64Std(der)
}

func (w *vectorWriter) wrappedForRecovery(k *RecoveryKey) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	wantKind(w.t, err, 0)
	id, r := FileID(bytes.Repeat([]byte{0xf1}, 16)), k.Recipient()
	data, err := NewDataKey(bytes.Repeat([]byte{0xdd}, KeySize))
	wantKind(w.t, err, 0)
	w.with("private-key", hex.EncodeToString(der), "recipient", jsonOf(r.String()), "file-id", id,
		"recovery-context", jsonOf(RecoveryContext(w.vol.id, id)))
	good, err := r.WrapDataKey(w.vol.id, id, data)
	wantKind(w.t, err, 0)
	tag := r.Tag()
	w.write("recovery-key", "file", "ok", "a data key, wrapped for recovery", good, "tag", hex.EncodeToString(tag[:]), "fingerprint", r.Fingerprint(),
		"data-key", hex.EncodeToString(bytes.Repeat([]byte{0xdd}, KeySize)))
	other, err := r.WrapDataKey(w.vol.id, FileID{1}, data)
	wantKind(w.t, err, 0)
	foreign, err := r.WrapDataKey(w.other.id, id, data)
	wantKind(w.t, err, 0)
	plain, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, r.rsa, data.key[:], nil)
	wantKind(w.t, err, 0)
	for name, body := range map[string][]byte{
		"other-file": other, "other-volume": foreign, "no-label": plain, "edited": flipBit(good, 100), "short": good[:255], "empty": nil,
	} {
		w.write("recovery-key", "bad-"+name, "wrong key", "wrapped for recovery: "+name, body)
	}
}
