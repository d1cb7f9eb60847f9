package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/fs"
)

// RewrapRequest asks a daemon to wrap the keys of its volume anew, see fs.RewrapOptions.
type RewrapRequest struct {
	KeyID             string `json:"keyId,omitempty"`             // the new CMK
	RecoveryKeyID     string `json:"recoveryKeyId,omitempty"`     // new recovery recipient: a key of the key service
	RecoveryRecipient string `json:"recoveryRecipient,omitempty"` // or an RSA key in the text form of FORMAT.md section 3
}

// RewrapEvents are told while a rewrap goes on; see fs.RewrapOptions.
type RewrapEvents struct {
	Progress func(files int64)
	Failed   func(error)
}

// Failure is an error of a daemon as it reaches the command that asked.
type Failure struct {
	Message string   `json:"message"`
	Exit    int      `json:"exit"` // exit code of the command
	Hints   []string `json:"hints,omitempty"`
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// rewrapUpdate is one line of a daemon during a rewrap; the last one has Result or Error.
type rewrapUpdate struct {
	Files  *int64           `json:"files,omitempty"`
	Failed *Failure         `json:"failed,omitempty"`
	Result *fs.RewrapResult `json:"result,omitempty"`
	Error  *Failure         `json:"error,omitempty"`
}

// Rewrap has the daemon wrap the keys of its volume anew while it is mounted, and returns when that is
// done. When ctx ends, the daemon stops; the same request takes it up again.
func (c *Client) Rewrap(ctx context.Context, req RewrapRequest, events RewrapEvents) (fs.RewrapResult, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return fs.RewrapResult{}, c.fail(KindIO, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(request{Request: requestRewrap, Rewrap: &req}); err != nil {
		return fs.RewrapResult{}, c.fail(KindIO, err)
	}
	dec := json.NewDecoder(conn)
	for {
		var u rewrapUpdate
		if err := dec.Decode(&u); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return fs.RewrapResult{}, c.fail(KindIO, err)
		}
		switch {
		case u.Files != nil:
			events.Progress(*u.Files)
		case u.Failed != nil:
			events.Failed(u.Failed)
		case u.Error != nil:
			return result(u.Result), u.Error
		case u.Result != nil:
			return *u.Result, nil
		default:
			return fs.RewrapResult{}, c.fail(KindRefused, errors.New("the daemon does not know how to rewrap; mount again with this version"))
		}
	}
}

func result(r *fs.RewrapResult) fs.RewrapResult {
	if r == nil {
		return fs.RewrapResult{}
	}
	return *r
}

// serveRewrap answers a rewrap. A client that goes away stops it.
func serveRewrap(conn *net.UnixConn, req *RewrapRequest, h Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn.SetReadDeadline(time.Time{})
	go func() {
		defer cancel()
		io.Copy(io.Discard, conn)
	}()
	var mu sync.Mutex // one line at a time
	send := func(u rewrapUpdate) {
		mu.Lock()
		defer mu.Unlock()
		conn.SetWriteDeadline(time.Now().Add(requestTimeout))
		if json.NewEncoder(conn).Encode(u) != nil {
			cancel()
		}
	}
	if req == nil {
		req = &RewrapRequest{}
	}
	res, failed := h.Rewrap(ctx, *req, func(files int64) { send(rewrapUpdate{Files: &files}) }, func(f *Failure) { send(rewrapUpdate{Failed: f}) })
	send(rewrapUpdate{Result: &res, Error: failed})
}
