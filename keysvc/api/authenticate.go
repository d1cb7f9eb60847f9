package api

import (
	"errors"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/kmsfs/kmsfs/keysvc"
	"github.com/kmsfs/kmsfs/keysvc/api/principals"
	"github.com/kmsfs/kmsfs/keysvc/api/sigv4"
)

// authenticate verifies a request's signature for a service, such as "kms", and
// returns who has signed it. It reads the body.
func (s *Server) authenticate(r *http.Request, service, requestID string, body *buffer) (keysvc.Caller, error) {
	signed, err := sigv4.Parse(r, service, s.config.Now())
	if err != nil {
		return keysvc.Caller{}, err
	}
	principal, known, err := s.config.Principals.Find(signed.AccessKeyID())
	switch {
	case err != nil:
		return keysvc.Caller{}, err
	case !known:
		return keysvc.Caller{}, sigv4.UnknownKey()
	}
	if err := readBody(r, body); err != nil {
		return keysvc.Caller{}, err
	}
	if err := signed.Verify(&s.keys, principal.Secret, body.text); err != nil {
		return keysvc.Caller{}, err
	}
	if !keysvc.ValidRegion(signed.Region()) {
		return keysvc.Caller{}, errScope
	}
	caller := s.caller(r, &principal, requestID)
	caller.Region = signed.Region()
	return caller, nil
}

// readBody reads at most [MaxBody] bytes.
func readBody(r *http.Request, body *buffer) error {
	if r.ContentLength > MaxBody {
		return errTooLarge
	}
	err := body.read(r.Body, MaxBody)
	switch {
	case err == nil || err == error(errTooLarge):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlow
	default:
		return errSerialization // the client is gone, or its chunks are none
	}
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
		SourceIP: address, UserAgent: userAgent(r), RequestID: requestID,
		Administrator: p.Admin,
	}
}

// maxUserAgent is how much of a user agent CloudTrail records, in bytes.
const maxUserAgent = 1024

func userAgent(r *http.Request) string {
	text := r.UserAgent()
	if len(text) <= maxUserAgent {
		return text
	}
	return strings.ToValidUTF8(text[:maxUserAgent], "")
}
