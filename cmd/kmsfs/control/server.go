package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// requestTimeout bounds how long a client may take to send its request.
const requestTimeout = 10 * time.Second

// Serve answers requests until Close.
func (s *Server) Serve(h Handler) {
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			return
		}
		go s.serveConn(conn, h)
	}
}

// serveConn answers one request. After a successful unmount the connection is left open for the
// exit of the process to close.
func (s *Server) serveConn(conn *net.UnixConn, h Handler) {
	var req request
	conn.SetReadDeadline(time.Now().Add(requestTimeout))
	err := json.NewDecoder(io.LimitReader(bufio.NewReader(conn), 4096)).Decode(&req)
	if err != nil {
		conn.Close()
		return
	}
	if !s.beginAnswer() {
		conn.Close()
		return
	}
	defer s.answers.Done()
	if req.Request == requestRewrap {
		defer conn.Close()
		serveRewrap(conn, req.Rewrap, h)
		return
	}
	res := answer(req, h)
	json.NewEncoder(conn).Encode(res) // a client that went away is no fault of the mount
	if req.Request != requestUnmount || res.Code != "" {
		conn.Close()
		return
	}
	s.mu.Lock()
	s.waiting = append(s.waiting, conn)
	s.mu.Unlock()
}

// Failed tells the clients that wait for the end of the daemon what went wrong after the unmount.
// Call it after Close.
func (s *Server) Failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.waiting {
		conn.SetWriteDeadline(time.Now().Add(requestTimeout))
		json.NewEncoder(conn).Encode(response{Code: codeFailed, Message: err.Error()})
	}
}

// beginAnswer registers an answer unless the server is closing.
func (s *Server) beginAnswer() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.answers.Add(1)
	}
	return !s.closing
}

// answer carries out a request.
func answer(req request, h Handler) response {
	switch req.Request {
	case requestStatus:
		st := h.Status()
		return response{Status: &st}
	case requestUnmount:
		err := h.Unmount()
		if err == nil {
			return response{}
		}
		if errors.Is(err, syscall.EBUSY) {
			return response{Code: codeBusy, Message: err.Error()}
		}
		return response{Code: codeFailed, Message: err.Error()}
	}
	return response{Code: codeUnknown, Message: "unknown request " + req.Request}
}
