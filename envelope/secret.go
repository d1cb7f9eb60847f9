package envelope

import (
	"fmt"
	"io"
	"log/slog"
)

// KeySize is the length of every data key, volume key and subkey, in bytes.
const KeySize = 32

// redacted is what every secret prints as.
const redacted = "[redacted]"

// secret holds 32 key bytes. It prints as "[redacted]" whatever verb or encoder is used. Copies of
// a secret share the bytes, so wiping one wipes all.
type secret struct{ key *[KeySize]byte }

// newSecret copies b, which must be KeySize bytes long; the caller still wipes b.
func newSecret(op string, b []byte) (secret, error) {
	if len(b) != KeySize {
		return secret{}, newError(op, KindInvalid, FileID{}, fmt.Errorf("key is %d bytes, want %d", len(b), KeySize))
	}
	s := secret{key: new([KeySize]byte)}
	copy(s.key[:], b)
	return s, nil
}

// wipe overwrites the key bytes with zeros.
func (s secret) wipe() {
	if s.key != nil {
		clear(s.key[:])
	}
}

// lend calls use with the key bytes themselves.
func (s secret) lend(op string, use func([]byte) ([]byte, error)) ([]byte, error) {
	if s.wiped() {
		return nil, errClosed(op)
	}
	return use(s.key[:])
}

// wiped reports whether the secret was never set or has been wiped.
func (s secret) wiped() bool { return s.key == nil || *s.key == [KeySize]byte{} }

// String returns "[redacted]".
func (s secret) String() string { return redacted }

// GoString returns "[redacted]".
func (s secret) GoString() string { return redacted }

// Format writes "[redacted]" for every verb.
func (s secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, redacted) }

// MarshalJSON returns the string "[redacted]".
func (s secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText returns "[redacted]".
func (s secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[redacted]".
func (s secret) LogValue() slog.Value { return slog.StringValue(redacted) }
