package hsm

import (
	"errors"
	"fmt"
)

// Kind classifies an error by what the caller can do about it. The set is
// closed.
type Kind int

const (
	// KindInternal is a fault of the module or of this package that fits no
	// other kind; retrying at once is unlikely to help.
	KindInternal Kind = iota
	// KindInvalidArgument is a call that can never succeed: empty aad, a
	// plaintext that is too long, a malformed URI.
	KindInvalidArgument
	// KindInvalidCiphertext is a blob that doesn't authenticate under this key
	// and aad, or is malformed.
	KindInvalidCiphertext
	// KindKeyNotFound is a backing key that the token doesn't hold.
	KindKeyNotFound
	// KindKeyExists is an id that is already taken.
	KindKeyExists
	// KindKeyExhausted is a key without derivation that has been used for as
	// many wraps as is safe; rotate it. It still unwraps.
	KindKeyExhausted
	// KindUnsupported is something that this token can't do.
	KindUnsupported
	// KindModule is a PKCS#11 module that is missing or can't be loaded or
	// initialised.
	KindModule
	// KindTokenNotFound is a selection that matches no token, or several.
	KindTokenNotFound
	// KindPIN is a PIN that was refused, is locked or has expired. It is latched:
	// no further login is tried with it, because tokens lock after few failures.
	KindPIN
	// KindUnavailable is a token or module that failed and could not be
	// reconnected; later calls may succeed.
	KindUnavailable
	// KindCanceled is a context that ended; errors.Is finds its cause.
	KindCanceled
	// KindClosed is a call on a closed token.
	KindClosed
)

var kindNames = [...]string{
	KindInternal:          "internal error",
	KindInvalidArgument:   "invalid argument",
	KindInvalidCiphertext: "invalid ciphertext",
	KindKeyNotFound:       "backing key not found",
	KindKeyExists:         "backing key exists",
	KindKeyExhausted:      "backing key exhausted",
	KindUnsupported:       "not supported by the token",
	KindModule:            "module not usable",
	KindTokenNotFound:     "token not found",
	KindPIN:               "PIN refused",
	KindUnavailable:       "token unavailable",
	KindCanceled:          "canceled",
	KindClosed:            "token closed",
}

// String returns a short description in lower case.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindNames[k]
}

// Error is the error type of every implementation of [Token].
type Error struct {
	Op   string // operation, for example "Unwrap"
	Kind Kind
	Err  error  // cause, may be nil
	Help string // what to do next, may be empty; see Hint
}

// Error returns operation, kind and cause on one line, without the hint.
func (e *Error) Error() string {
	s := "hsm: " + e.Op + ": " + e.Kind.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns the next thing to try, or "".
func (e *Error) Hint() string { return e.Help }

// Is reports whether target is an [*Error] of the same kind without a cause, so
// that errors.Is(err, &hsm.Error{Kind: k}) asks for the kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Err == nil && (t.Op == "" || t.Op == e.Op)
}

// KindOf returns the kind of the first [*Error] in err's chain; ok is false if
// there is none.
func KindOf(err error) (k Kind, ok bool) {
	var e *Error
	if !errors.As(err, &e) {
		return KindInternal, false
	}
	return e.Kind, true
}

// IsKind reports whether err is an [*Error] of the kind.
func IsKind(err error, k Kind) bool {
	got, ok := KindOf(err)
	return ok && got == k
}
