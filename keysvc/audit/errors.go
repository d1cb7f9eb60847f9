package audit

import "fmt"

// Kind classifies an [Error]. The set is closed.
type Kind int

const (
	// KindIO is a file that can't be opened, read, written or synced.
	KindIO Kind = iota
	// KindBusy is a trail whose lock another process has held for too long.
	KindBusy
	// KindDamaged is a trail whose records don't form a chain.
	KindDamaged
	// KindClosed is a use after Close.
	KindClosed
)

// Error is the error type of this package.
type Error struct {
	Op   string // "open", "append", "sync", "read", "verify", "parse"
	Path string // the trail, if known
	Kind Kind
	Err  error
}

// Error returns operation, file and cause on one line.
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("audit trail: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("audit trail %s: %s: %v", e.Path, e.Op, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what to do about the error, or is empty.
func (e *Error) Hint() string {
	switch e.Kind {
	case KindIO:
		return "the key service answers no call that it can't record: free space on the disk or repair the audit directory, then try again"
	case KindBusy:
		return "another process holds the lock of the audit trail; look for a stopped kmsfs process"
	case KindDamaged:
		return "run 'kmsfs audit verify' to see where the trail was changed; to start a new one, move the file to a safe place"
	default:
		return ""
	}
}
