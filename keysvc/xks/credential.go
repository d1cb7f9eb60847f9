package xks

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a secret access key. It prints as [redacted].
type Secret string

const redacted = "[redacted]"

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redacted }

// Format writes "[redacted]" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Credential is the access key that proxy and key service share. It has nothing to
// do with the key service's own principals.
type Credential struct {
	AccessKeyID string
	Secret      Secret
}
