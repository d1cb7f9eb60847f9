package control

import (
	"context"

	"github.com/kmsfs/kmsfs/fs"
)

// maxMessage bounds a line of the protocol, in bytes; a status with 100,000 open files fits.
const maxMessage = 64 << 20

// The requests.
const (
	requestStatus  = "status"
	requestUnmount = "unmount"
	requestRewrap  = "rewrap"
)

// request is what a client sends.
type request struct {
	Request string         `json:"request"`
	Rewrap  *RewrapRequest `json:"rewrap,omitempty"`
}

// response is what a daemon answers. Code is "" for success.
type response struct {
	Code    string  `json:"code,omitempty"` // "busy", "failed" or "unknown"
	Message string  `json:"message,omitempty"`
	Status  *Status `json:"status,omitempty"`
}

// Codes of a response.
const (
	codeBusy    = "busy"
	codeFailed  = "failed"
	codeUnknown = "unknown"
)

// Status is what a daemon tells of its mount.
type Status struct {
	PID      int    `json:"pid"`
	StateDir string `json:"stateDir"`
	fs.Status
}

// Handler is the daemon's side.
type Handler interface {
	// Status describes the mount.
	Status() Status
	// Unmount asks the kernel to detach the mount. A mount in use answers syscall.EBUSY.
	Unmount() error
	// Rewrap wraps the keys of the volume anew; it ends with ctx.
	Rewrap(ctx context.Context, req RewrapRequest, progress func(files int64), failed func(*Failure)) (fs.RewrapResult, *Failure)
}
