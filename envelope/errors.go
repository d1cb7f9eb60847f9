package envelope

import "fmt"

// Kind classifies every error of this package. The set is closed: a caller may switch over it.
type Kind uint8

// The kinds of Error.
const (
	// KindIO is a failure of the store below; Err is the store's error, so that
	// errors.Is(err, syscall.ENOSPC) and the like see through it.
	KindIO Kind = iota + 1
	// KindCorrupt says that bytes fail authentication or contradict each other.
	KindCorrupt
	// KindTruncated says that the store is empty or shorter than its header demands.
	KindTruncated
	// KindWrongKey says that the key is well formed but not the one that this object commits to.
	KindWrongKey
	// KindUnsupported says that a version, suite, flag or member is unknown to this build.
	KindUnsupported
	// KindTooLarge says that an offset or size is beyond MaxFileSize, or an area beyond its space.
	KindTooLarge
	// KindTooLong says that a name, target or value does not fit its encoded form.
	KindTooLong
	// KindNoData says that no data (or no hole) follows the offset asked for.
	KindNoData
	// KindSlotsFull says that no further key slot fits the header.
	KindSlotsFull
	// KindMoved says that an object is authentic but stands at another place than it was sealed for.
	KindMoved
	// KindInvalid says that the caller passed an argument that can never work.
	KindInvalid
	// KindClosed says that the object was wiped.
	KindClosed
)

var kindNames = [...]string{
	KindIO:          "store failure",
	KindCorrupt:     "corrupt",
	KindTruncated:   "truncated",
	KindWrongKey:    "wrong key",
	KindUnsupported: "unsupported",
	KindTooLarge:    "too large",
	KindTooLong:     "too long",
	KindNoData:      "no data",
	KindSlotsFull:   "key slots full",
	KindMoved:       "moved",
	KindInvalid:     "invalid argument",
	KindClosed:      "closed",
}

// String returns the kind in words, as it appears in Error.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// NoBlock is the value of Error.Block when no data block is concerned.
const NoBlock int64 = -1

// Error is the one error type of this package.
type Error struct {
	Op    string // what was attempted: "open", "read", "commit", "decrypt name" …
	Kind  Kind
	File  FileID // zero when no file is concerned
	Block int64  // logical block of 4096 bytes, NoBlock when none is concerned
	Err   error  // cause, may be nil
}

// Error formats the operation, the file and block it concerns, the kind and the cause.
func (e *Error) Error() string {
	s := "envelope: " + e.Op
	if e.File != (FileID{}) {
		s += " file " + e.File.String()
	}
	if e.Block >= 0 {
		s += fmt.Sprintf(" block %d", e.Block)
	}
	s += ": " + e.Kind.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error that names the same Kind and is otherwise empty, so that
// errors.Is(err, &Error{Kind: KindCorrupt}) asks for the kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Op == "" && t.Err == nil
}

// KindOf returns the Kind of the first *Error in err's chain, or 0 when there is none.
func KindOf(err error) Kind {
	for err != nil {
		if e, ok := err.(*Error); ok {
			return e.Kind
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return 0
		}
		err = u.Unwrap()
	}
	return 0
}

// newError makes an *Error that concerns no data block. cause may be nil.
func newError(op string, kind Kind, file FileID, cause error) *Error {
	return &Error{Op: op, Kind: kind, File: file, Block: NoBlock, Err: cause}
}
