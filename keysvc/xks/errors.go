package xks

import (
	"errors"
	"fmt"
)

// Kind says what went wrong with a proxy. The set is closed.
type Kind int

const (
	// KindMalformed is an answer that makes no sense, or that finds our request
	// to make none.
	KindMalformed Kind = iota
	// KindKeyDisabled is an external key, or a whole key store, that is disabled.
	KindKeyDisabled
	// KindRejectedCiphertext is a ciphertext that the proxy won't decrypt.
	KindRejectedCiphertext
	// KindWrongCiphertext is an answer whose ciphertext doesn't fit its integrity
	// value or its lengths.
	KindWrongCiphertext
	// KindKeyUsage is an external key that is not for encrypting and decrypting.
	KindKeyUsage
	// KindUnauthenticated is a signature that the proxy doesn't accept.
	KindUnauthenticated
	// KindDenied is an operation that the proxy's own policy forbids.
	KindDenied
	// KindKeyNotFound is an external key that the key manager doesn't have.
	KindKeyNotFound
	// KindPath is a path that isn't the proxy's.
	KindPath
	// KindUnsupported is something that the proxy can't do.
	KindUnsupported
	// KindDependency is a proxy that waited for its key manager in vain.
	KindDependency
	// KindThrottled is a proxy that is asked too often.
	KindThrottled
	// KindManager is a proxy whose key manager fails.
	KindManager
	// KindUnreachable is a proxy to which no connection can be made.
	KindUnreachable
	// KindTLS is a proxy whose certificate isn't valid.
	KindTLS
	// KindTimeout is a proxy that didn't answer in time.
	KindTimeout
)

// names are the proxy's words for kinds.
var names = map[string]Kind{
	"ValidationException":           KindMalformed,
	"InvalidStateException":         KindKeyDisabled,
	"InvalidCiphertextException":    KindRejectedCiphertext,
	"InvalidKeyUsageException":      KindKeyUsage,
	"AuthenticationFailedException": KindUnauthenticated,
	"AccessDeniedException":         KindDenied,
	"KeyNotFoundException":          KindKeyNotFound,
	"InvalidUriPathException":       KindPath,
	"UnsupportedOperationException": KindUnsupported,
	"DependencyTimeoutException":    KindDependency,
	"ThrottlingException":           KindThrottled,
	"InternalException":             KindManager,
}

// passing tells whether another attempt may go better.
func (k Kind) passing() bool {
	switch k {
	case KindDependency, KindThrottled, KindManager, KindUnreachable, KindTimeout:
		return true
	}
	return false
}

// Error is the error type of this package.
type Error struct {
	Op   string // the API's operation, such as "Encrypt"
	Kind Kind
	Err  error // cause, for logs
}

// Error returns operation and cause on one line.
func (e *Error) Error() string { return fmt.Sprintf("external key store proxy: %s: %v", e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first [*Error] in err's chain; ok is false if
// there is none.
func KindOf(err error) (k Kind, ok bool) {
	var e *Error
	if !errors.As(err, &e) {
		return KindMalformed, false
	}
	return e.Kind, true
}
