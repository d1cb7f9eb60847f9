package embedded

import (
	"errors"
	"fmt"
)

// Kind classifies an [Error]. The set is closed.
type Kind int

const (
	// KindInvalid is an option that can't be right.
	KindInvalid Kind = iota
	// KindMissing is a state directory that doesn't exist and wasn't to be made.
	KindMissing
	// KindUnreadable is a directory or file that can't be read or made, or that
	// others than its owner can read though it holds a secret.
	KindUnreadable
	// KindDamaged is a configuration that doesn't parse, or files that don't
	// belong together.
	KindDamaged
	// KindPIN is a PIN that can't be got or that the token refuses.
	KindPIN
	// KindToken is a PKCS#11 module or token that isn't there or doesn't work.
	KindToken
	// KindStore is a key store that can't be opened.
	KindStore
	// KindAudit is an audit trail that can't be opened.
	KindAudit
)

// Error is the error type of this package.
type Error struct {
	Kind Kind
	Path string // what it is about; may be empty
	Err  error
	Help string // see Hint
}

// Error returns file and cause on one line.
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("key service: %v", e.Err)
	}
	return fmt.Sprintf("key service in %s: %v", e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what to do next: its own advice, else that of the cause, else "".
func (e *Error) Hint() string {
	if e.Help != "" {
		return e.Help
	}
	var hinted interface{ Hint() string }
	if errors.As(e.Err, &hinted) {
		return hinted.Hint()
	}
	return ""
}
