package sigv4

import "fmt"

// Kind is a class of errors. The set is closed; each kind is one AWS error name.
type Kind int

const (
	// KindMissing is a request without a signature.
	KindMissing Kind = iota
	// KindIncomplete is an Authorization header that isn't whole.
	KindIncomplete
	// KindInvalid is a signature that is wrong, too old or for something else.
	KindInvalid
	// KindToken is an access key or session token that isn't known.
	KindToken
)

var names = [...]string{
	KindMissing:    "MissingAuthenticationTokenException",
	KindIncomplete: "IncompleteSignatureException",
	KindInvalid:    "InvalidSignatureException",
	KindToken:      "UnrecognizedClientException",
}

// String returns the AWS name.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(names) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return names[k]
}

// Error is what a request is refused with. Message may be sent to the client.
type Error struct {
	Kind    Kind
	Message string
}

// Error returns AWS's name and the text.
func (e *Error) Error() string { return e.Kind.String() + ": " + e.Message }

func refuse(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// UnknownKey is the refusal of an access key that doesn't exist.
func UnknownKey() *Error {
	return refuse(KindToken, "The security token included in the request is invalid.")
}

// shown is as much of a client's text as a message repeats.
func shown(text string) string { return text[:min(len(text), 64)] }
