package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// Client talks to one living daemon.
type Client struct {
	socket string
	name   string // mount point if known, else the socket
}

// Find returns a client for the daemon that serves mountpoint, or KindNoDaemon.
func Find(dir, mountpoint string) (*Client, error) {
	c := &Client{socket: socketPath(dir, mountpoint), name: mountpoint}
	all, err := sockets(dir)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if s == c.socket && !sweep(s) {
			return c, nil
		}
	}
	return nil, &Error{Op: "find the mount at", Path: mountpoint, Kind: KindNoDaemon,
		Err: errors.New("no kmsfs daemon of yours serves it"), Help: "see what is mounted: kmsfs status"}
}

// List returns clients for every living daemon of this user.
func List(dir string) ([]*Client, error) {
	all, err := sockets(dir)
	if err != nil {
		return nil, err
	}
	var alive []*Client
	for _, s := range all {
		if !sweep(s) {
			alive = append(alive, &Client{socket: s, name: s})
		}
	}
	return alive, nil
}

// Status asks for the state of the mount.
func (c *Client) Status(ctx context.Context) (Status, error) {
	conn, res, err := c.ask(ctx, requestStatus)
	if err != nil {
		return Status{}, err
	}
	conn.Close()
	if res.Status == nil {
		return Status{}, c.fail(KindIO, errors.New("the daemon sent no status"))
	}
	return *res.Status, nil
}

// Unmount asks the daemon to detach its mount and returns when the daemon is gone: everything is
// written, the keys are wiped, the grant is retired. A mount in use gives KindBusy.
func (c *Client) Unmount(ctx context.Context) error {
	conn, _, err := c.ask(ctx, requestUnmount)
	if gone(err) {
		return nil // it was ending already, for another reason
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	last, err := io.ReadAll(conn.answers)
	if err != nil && !gone(err) {
		return c.fail(KindIO, errors.New("unmounted, but the daemon has not ended yet"))
	}
	return c.farewell(last)
}

// gone reports whether a daemon ended, or was killed, in the middle of the talk.
func gone(err error) bool {
	for _, sign := range []error{io.EOF, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}

// farewell is what a daemon says before it ends: nothing, unless data was lost.
func (c *Client) farewell(last []byte) error {
	var res response
	if len(last) == 0 || json.Unmarshal(last, &res) != nil || res.Code == "" {
		return nil
	}
	return &Error{Op: "unmount", Path: c.name, Kind: KindLost, Err: errors.New(res.Message),
		Help: "look at the backing directory: is its disk full or failing? What was fsynced before is safe"}
}

// ask sends a request and reads the answer. The connection is closed unless err is nil.
func (c *Client) ask(ctx context.Context, what string) (*dialogue, response, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, response{}, c.fail(KindIO, err)
	}
	d := &dialogue{Conn: conn, answers: bufio.NewReader(io.LimitReader(conn, maxMessage))}
	res, err := d.exchange(ctx, what)
	if err == nil {
		err = c.refusal(res)
	} else {
		err = c.fail(KindIO, err)
	}
	if err != nil {
		conn.Close()
		return nil, response{}, err
	}
	return d, res, nil
}

// dialogue is a connection to a daemon that may answer more than once.
type dialogue struct {
	net.Conn
	answers *bufio.Reader
}

// exchange sends a request and reads one line.
func (d *dialogue) exchange(ctx context.Context, what string) (response, error) {
	defer context.AfterFunc(ctx, func() { d.SetDeadline(time.Unix(1, 0)) })()
	var res response
	if err := json.NewEncoder(d).Encode(request{Request: what}); err != nil {
		return res, err
	}
	line, err := d.answers.ReadBytes('\n')
	if err != nil {
		return res, err
	}
	return res, json.Unmarshal(line, &res)
}

// refusal turns a negative answer into an error.
func (c *Client) refusal(res response) error {
	switch res.Code {
	case "":
		return nil
	case codeBusy:
		return c.fail(KindBusy, errors.New(res.Message))
	}
	return c.fail(KindRefused, errors.New(res.Message))
}

func (c *Client) fail(k Kind, err error) error {
	return &Error{Op: "talk to the daemon of", Path: c.name, Kind: k, Err: err}
}

// escapeGlob quotes what filepath.Glob would read as a pattern.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
