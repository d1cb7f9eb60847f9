package control

import "fmt"

// Kind classifies an Error. The set is closed.
type Kind int

// The kinds of Error.
const (
	KindDir      Kind = iota + 1 // the runtime directory cannot be used
	KindNoDaemon                 // no daemon serves the mount point
	KindInUse                    // another daemon serves the mount point
	KindIO                       // the conversation failed
	KindRefused                  // the daemon refused the request
	KindBusy                     // the mount has files in use
	KindLost                     // unmounted, but not everything could be written
)

// Error is the error type of this package.
type Error struct {
	Op   string
	Path string // the mount point or directory
	Kind Kind
	Err  error
	Help string
}

// Error formats operation, path and cause on one line.
func (e *Error) Error() string {
	s := e.Op + " " + e.Path
	if e.Err != nil {
		s += fmt.Sprintf(": %v", e.Err)
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what to try next, or "".
func (e *Error) Hint() string { return e.Help }

// Is makes errors.Is(err, &Error{Kind: k}) ask for the kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Err == nil && t.Op == ""
}
