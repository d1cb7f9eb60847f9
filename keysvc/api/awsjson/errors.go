package awsjson

import "fmt"

// Kind classifies an [Error]. The set is closed.
type Kind int

const (
	// KindSyntax is text that is no JSON, or not UTF-8.
	KindSyntax Kind = iota
	// KindDepth is JSON that is nested too deeply.
	KindDepth
	// KindType is a member whose JSON doesn't fit its type.
	KindType
)

// Error says why a text can't be decoded. It never holds a member's value.
type Error struct {
	Kind   Kind
	Member string // path of the member, such as Tags.0.TagKey; empty = the whole
	Reason string
}

// Error returns the member and the reason on one line.
func (e *Error) Error() string {
	if e.Member == "" {
		return "decode the request: " + e.Reason
	}
	return fmt.Sprintf("decode the request: member %s: %s", e.Member, e.Reason)
}

// within adds the member that an error happened in.
func within(member string, err *Error) *Error {
	if err == nil {
		return nil
	}
	if err.Member == "" {
		err.Member = member
	} else {
		err.Member = member + "." + err.Member
	}
	return err
}

func mistyped(want string) *Error { return &Error{Kind: KindType, Reason: "must be " + want} }
