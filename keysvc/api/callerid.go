package api

import (
	"encoding/xml"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// isQuery recognises the protocol of AWS's Security Token Service, of which one
// operation is served: clients learn from it who they are.
func isQuery(r *http.Request) bool {
	value := r.Header.Get("Content-Type")
	if value == contentType {
		return false
	}
	kind, _, err := mime.ParseMediaType(value)
	return err == nil && kind == "application/x-www-form-urlencoded"
}

// callerIdentity is the answer to GetCallerIdentity.
type callerIdentity struct {
	XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Result  struct {
		Arn     string
		UserID  string `xml:"UserId"`
		Account string
	} `xml:"GetCallerIdentityResult"`
	RequestID string `xml:"ResponseMetadata>RequestId"`
}

// queryError is a refusal in that protocol.
type queryError struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// bodyFor is the refusal in the protocol that the request speaks.
func (r *refusal) bodyFor(q *request) []byte {
	if !q.query {
		return r.body()
	}
	text, _ := xml.Marshal(queryError{Type: "Sender", Code: stsName(r.name), Message: r.message, RequestID: q.id}) // strings can't fail
	return text
}

// stsName is the Security Token Service's name of an error.
func stsName(name string) string {
	switch name {
	case "InvalidSignatureException":
		return "SignatureDoesNotMatch"
	case "UnrecognizedClientException":
		return "InvalidClientTokenId"
	}
	return strings.TrimSuffix(name, "Exception")
}

// securityTokenService answers GetCallerIdentity to whoever has an access key, as
// AWS does. It touches no key and leaves no record.
func (s *Server) securityTokenService(q *request, body *buffer, to []byte) ([]byte, error) {
	caller, err := s.authenticate(q.Request, "sts", q.id, body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body.text))
	if err != nil || form.Get("Action") != "GetCallerIdentity" {
		return nil, errUnknownOperation
	}
	out := callerIdentity{RequestID: q.id}
	out.Result.Arn, out.Result.UserID, out.Result.Account = caller.ARN, caller.PrincipalID, caller.Account
	text, err := xml.Marshal(out)
	return append(to, text...), err
}
