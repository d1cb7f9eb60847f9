package envelope

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Limits of the modulus of a recovery recipient's RSA key, in bits.
const (
	MinRecoveryBits = 2048
	MaxRecoveryBits = 8192
)

// rsaPrefix begins the text form of a recipient that is an RSA public key.
const rsaPrefix = "rsa:"

// recoveryLabel begins the label of RSAES-OAEP, which binds a wrapped key to its volume and file.
const recoveryLabel = "kmsfs/1 recovery"

// Recipient is who can unwrap the recovery slots of a volume (FORMAT.md section 5): an RSA public key,
// or a key of a key service. It holds nothing secret.
type Recipient struct {
	text string
	rsa  *rsa.PublicKey // nil for a key of a key service
}

// ParseRecipient reads the text form: "rsa:" and the key's DER SubjectPublicKeyInfo (RFC 5280) in
// base64, or a key ARN. It takes no second spelling of a key; errors are of KindInvalid.
func ParseRecipient(text string) (*Recipient, error) {
	const op = "parse recovery recipient"
	digits, isRSA := strings.CutPrefix(text, rsaPrefix)
	if !isRSA {
		if !validARN(text) || !strings.HasPrefix(text, "arn:") {
			return nil, newError(op, KindInvalid, FileID{}, errors.New("neither an RSA key nor a key ARN"))
		}
		return &Recipient{text: text}, nil
	}
	der, err := base64.StdEncoding.Strict().DecodeString(digits)
	if err != nil {
		return nil, newError(op, KindInvalid, FileID{}, err)
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, newError(op, KindInvalid, FileID{}, err)
	}
	r, err := publicRecipient(op, key)
	if err == nil && r.text != text {
		err = newError(op, KindInvalid, FileID{}, errors.New("not in canonical form"))
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// publicRecipient returns the recipient of an RSA key of MinRecoveryBits to MaxRecoveryBits. KindInvalid
// for others.
func publicRecipient(op string, key any) (*Recipient, error) {
	pub, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, newError(op, KindInvalid, FileID{}, fmt.Errorf("a %T is no RSA public key", key))
	}
	if n := pub.N.BitLen(); n < MinRecoveryBits || n > MaxRecoveryBits {
		return nil, newError(op, KindInvalid, FileID{}, fmt.Errorf("an RSA key of %d bits, want %d to %d", n, MinRecoveryBits, MaxRecoveryBits))
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, newError(op, KindInvalid, FileID{}, err)
	}
	return &Recipient{text: rsaPrefix + base64.StdEncoding.EncodeToString(der), rsa: pub}, nil
}

// ParseRecipientPEM reads an RSA public key: the first block must be "PUBLIC KEY" (RFC 7468 section 13)
// or "RSA PUBLIC KEY" (PKCS#1, RFC 8017 appendix A.1.1). KindInvalid for everything else.
func ParseRecipientPEM(text []byte) (*Recipient, error) {
	const op = "read recovery public key"
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, newError(op, KindInvalid, FileID{}, errors.New("no PEM block"))
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		clear(block.Bytes)
		err = fmt.Errorf("a PEM block of type %q, want a public key", block.Type)
	}
	if err != nil {
		return nil, newError(op, KindInvalid, FileID{}, err)
	}
	return publicRecipient(op, key)
}

// String returns the text form, as the volume file has it.
func (r *Recipient) String() string { return r.text }

// KeyARN returns the ARN of a recipient that is a key of a key service, "" for an RSA key.
func (r *Recipient) KeyARN() string {
	if r.rsa != nil {
		return ""
	}
	return r.text
}

// Fingerprint returns the SHA-256 of an RSA key's SubjectPublicKeyInfo in hex, "" for a key of a key
// service.
func (r *Recipient) Fingerprint() string {
	der, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.text, rsaPrefix))
	if r.rsa == nil || err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Tag returns SHA-256(text form) cut to 16 bytes: a recovery slot says with it whom it is for.
func (r *Recipient) Tag() (tag [16]byte) {
	sum := sha256.Sum256([]byte(r.text))
	copy(tag[:], sum[:])
	return tag
}

// Slot returns a recovery slot with what WrapDataKey or a key service has wrapped.
func (r *Recipient) Slot(wrapped []byte) Slot {
	return Slot{Kind: SlotRecovery, Tag: r.Tag(), Wrapped: wrapped}
}

// WrapDataKey encrypts the data key of a file for an RSA recipient (RSAES-OAEP with SHA-256). KindInvalid
// for a recipient that is a key of a key service, which has to be asked, and for a wiped key.
func (r *Recipient) WrapDataKey(vol VolumeID, id FileID, key *DataKey) ([]byte, error) {
	return r.wrap("wrap data key for recovery", vol, id, key.secret)
}

// WrapVolumeKey is WrapDataKey for the key of a volume.
func (r *Recipient) WrapVolumeKey(vol VolumeID, key *VolumeKey) ([]byte, error) {
	return r.wrap("wrap volume key for recovery", vol, FileID{}, key.secret)
}

func (r *Recipient) wrap(op string, vol VolumeID, id FileID, s secret) ([]byte, error) {
	if r.rsa == nil || s.wiped() {
		return nil, newError(op, KindInvalid, id, errors.New("not an RSA recipient, or the key is wiped"))
	}
	b, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, r.rsa, s.key[:], oaepLabel(vol, id))
	if err != nil {
		return nil, newError(op, KindInvalid, id, err)
	}
	return b, nil
}

// oaepLabel is "kmsfs/1 recovery" || 00 || suite u8 || volume id || file id, the latter zeros for the
// volume key.
func oaepLabel(vol VolumeID, id FileID) []byte {
	b := append([]byte(recoveryLabel), 0, byte(SuiteAES256GCM))
	return append(append(b, vol[:]...), id[:]...)
}
