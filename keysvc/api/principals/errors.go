package principals

import (
	"errors"
	"fmt"
)

// Kind classifies an [Error]. The set is closed.
type Kind int

const (
	// KindInvalid is a name that no principal can have.
	KindInvalid Kind = iota
	// KindExists is a name that is taken.
	KindExists
	// KindMissing is a principal that doesn't exist.
	KindMissing
	// KindUnreadable is a file that can't be read or written, or that others than
	// its owner can use.
	KindUnreadable
	// KindDamaged is a file that doesn't parse.
	KindDamaged
)

// Error is the error type of this package.
type Error struct {
	Op   string // what was tried, such as "create principal alice"
	Kind Kind
	Err  error
	Help string // see Hint
}

// Error returns what was tried and the cause on one line.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what to do next.
func (e *Error) Hint() string { return e.Help }

func unreadable(op string, err error, help string) *Error {
	return &Error{Op: op, Kind: KindUnreadable, Err: err, Help: help}
}

func damaged(op string, err error) *Error {
	return &Error{Op: op, Kind: KindDamaged, Err: err, Help: "restore the file from a backup, or remove it and make new access keys"}
}

var (
	errName    = errors.New("a name has 1 to 64 letters, digits or any of +=,.@_-")
	errTaken   = errors.New("there is a principal with this name already")
	errUnknown = errors.New("there is no such principal")
)
