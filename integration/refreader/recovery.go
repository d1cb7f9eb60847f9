package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// recovery checks the recovery member and returns its wrapped key.
func (f *volumeFile) recovery() ([]byte, error) {
	if f.Recovery == nil {
		return nil, nil
	}
	wrapped, err := base64.StdEncoding.Strict().DecodeString(f.Recovery.Wrapped)
	if err != nil || len(wrapped) == 0 || len(wrapped) > 6144 || !isRecipient(f.Recovery.Recipient) {
		return nil, corrupt
	}
	return wrapped, nil
}

// isRecipient tells whether s names an RSA key of 2048 to 8192 bits or a key of a key service.
func isRecipient(s string) bool {
	digits, ok := strings.CutPrefix(s, "rsa:")
	if !ok {
		return strings.HasPrefix(s, "arn:")
	}
	der, err := base64.StdEncoding.Strict().DecodeString(digits)
	if err != nil || base64.StdEncoding.EncodeToString(der) != digits {
		return false
	}
	key, err := x509.ParsePKIXPublicKey(der)
	pub, ok := key.(*rsa.PublicKey)
	return err == nil && ok && pub.N.BitLen() >= 2048 && pub.N.BitLen() <= 8192
}

// checkRecoveryKey unwraps a data key with the private key of the recipient.
func checkRecoveryKey(t *vector, v *volume) error {
	parsed, err := x509.ParsePKCS8PrivateKey(t.hex("private-key"))
	if err != nil {
		return err
	}
	private := parsed.(*rsa.PrivateKey)
	spki, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return err
	}
	file := t.hex("file-id")
	label := append([]byte("kmsfs/1 recovery\x00\x01"), append(v.id, file...)...)
	data, err := private.Decrypt(nil, t.body, &rsa.OAEPOptions{Hash: crypto.SHA256, Label: label})
	if err != nil {
		err = wrongKey
	}
	recipient := "rsa:" + base64.StdEncoding.EncodeToString(spki)
	tag, print := sha256.Sum256([]byte(recipient)), sha256.Sum256(spki)
	return t.compare(err, "recipient", quoted(recipient), "tag", hex.EncodeToString(tag[:16]), "fingerprint", hex.EncodeToString(print[:]),
		"data-key", hex.EncodeToString(data),
		"recovery-context", quoted(map[string]string{"kmsfs:volume-id": t.get("volume-id"), "kmsfs:file-id": t.get("file-id")}))
}
