package api

import (
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/kmsfs/kmsfs/keysvc"
	"github.com/kmsfs/kmsfs/keysvc/api/principals"
	"github.com/kmsfs/kmsfs/keysvc/api/sigv4"
)

// authenticate verifies a request's signature for a service, such as "kms", and
// returns who has signed it, and the body.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request, service, requestID string) (keysvc.Caller, []byte, error) {
	signed, err := sigv4.Parse(r, service, s.config.Now())
	if err != nil {
		return keysvc.Caller{}, nil, err
	}
	principal, known, err := s.config.Principals.Find(signed.AccessKeyID())
	switch {
	case err != nil:
		return keysvc.Caller{}, nil, err
	case !known:
		return keysvc.Caller{}, nil, sigv4.UnknownKey()
	}
	body, err := readBody(w, r)
	if err != nil {
		return keysvc.Caller{}, nil, err
	}
	if err := signed.Verify(&s.keys, principal.Secret, body); err != nil {
		clear(body)
		return keysvc.Caller{}, nil, err
	}
	if !keysvc.ValidRegion(signed.Region()) {
		clear(body)
		return keysvc.Caller{}, nil, errScope
	}
	caller := s.caller(r, &principal, requestID)
	caller.Region = signed.Region()
	return caller, body, nil
}

// readBody reads at most [MaxBody] bytes.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxBody {
		return nil, errTooLarge
	}
	limited := http.MaxBytesReader(w, r.Body, MaxBody)
	body, err := readAll(limited, r.ContentLength)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, errSerialization // the client was too slow or is gone
	}
	return body, nil
}

// readAll reads a body. If its length is known there is only one copy of it,
// which the caller can wipe.
func readAll(r io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(r)
	}
	body := make([]byte, length)
	_, err := io.ReadFull(r, body)
	return body, err
}

// caller is the principal as the service records and authorises it.
func (s *Server) caller(r *http.Request, p *principals.Principal, requestID string) keysvc.Caller {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = "" // a unix socket
	}
	return keysvc.Caller{
		Type: "IAMUser", ARN: p.ARN(s.config.Account), Account: s.config.Account,
		PrincipalID: p.AccessKeyID, AccessKeyID: p.AccessKeyID, UserName: p.Name,
		SourceIP: address, UserAgent: r.UserAgent(), RequestID: requestID,
		Administrator: p.Admin,
	}
}
