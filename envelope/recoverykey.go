package envelope

import (
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
)

// RecoveryKey is the RSA private key of a recovery recipient. It prints as "[redacted]". Only the
// recovery of a volume holds one; no mount does.
type RecoveryKey struct {
	private   *rsa.PrivateKey // nil after Wipe
	recipient *Recipient
}

// NewRecoveryKey takes over an RSA private key; Wipe overwrites it. KindInvalid for one that cannot be
// a recipient's.
func NewRecoveryKey(private *rsa.PrivateKey) (*RecoveryKey, error) {
	r, err := publicRecipient("use recovery key", &private.PublicKey)
	if err != nil {
		return nil, err
	}
	return &RecoveryKey{private: private, recipient: r}, nil
}

// Recipient returns the public half.
func (k *RecoveryKey) Recipient() *Recipient { return k.recipient }

// UnwrapDataKey opens what Recipient.WrapDataKey made for file id of volume vol. KindWrongKey if it was
// made for another key, file or volume; the caller wipes the result.
func (k *RecoveryKey) UnwrapDataKey(vol VolumeID, id FileID, wrapped []byte) (*DataKey, error) {
	b, err := k.unwrap("recover data key", vol, id, wrapped)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return NewDataKey(b)
}

// UnwrapVolumeKey opens what Recipient.WrapVolumeKey made for volume vol.
func (k *RecoveryKey) UnwrapVolumeKey(vol VolumeID, wrapped []byte) (*VolumeKey, error) {
	b, err := k.unwrap("recover volume key", vol, FileID{}, wrapped)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return NewVolumeKey(b)
}

func (k *RecoveryKey) unwrap(op string, vol VolumeID, id FileID, wrapped []byte) ([]byte, error) {
	if k.private == nil {
		return nil, errClosed(op)
	}
	b, err := rsa.DecryptOAEP(sha256.New(), nil, k.private, wrapped, oaepLabel(vol, id))
	if err != nil {
		return nil, newError(op, KindWrongKey, id, errors.New("it was wrapped for another recovery key, file or volume"))
	}
	return b, nil
}

// Wipe overwrites the private key as far as the standard library shows it: its precomputed form is
// left to the garbage collector. Safe to call twice and on nil.
func (k *RecoveryKey) Wipe() {
	if k == nil || k.private == nil {
		return
	}
	p := k.private
	for _, n := range append([]*big.Int{p.D, p.Precomputed.Dp, p.Precomputed.Dq, p.Precomputed.Qinv}, p.Primes...) {
		if n != nil {
			clear(n.Bits())
		}
	}
	k.private = nil
}

// Format writes "[redacted]" for every verb.
func (k *RecoveryKey) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, redacted) }

// MarshalJSON returns the string "[redacted]".
func (k *RecoveryKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue returns "[redacted]".
func (k *RecoveryKey) LogValue() slog.Value { return slog.StringValue(redacted) }
