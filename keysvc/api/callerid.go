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
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
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
func (r *refusal) bodyFor(w http.ResponseWriter, to *http.Request, requestID string) []byte {
	if !isQuery(to) {
		return r.body()
	}
	w.Header().Set("Content-Type", "text/xml")
	text, _ := xml.Marshal(queryError{Type: "Sender", Code: stsName(r.name), Message: r.message, RequestID: requestID}) // strings can't fail
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
func (s *Server) securityTokenService(w http.ResponseWriter, r *http.Request, requestID string) ([]byte, error) {
	caller, body, err := s.authenticate(w, r, "sts", requestID)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("Action") != "GetCallerIdentity" {
		return nil, errUnknownOperation
	}
	out := callerIdentity{RequestID: requestID}
	out.Result.Arn, out.Result.UserID, out.Result.Account = caller.ARN, caller.PrincipalID, caller.Account
	w.Header().Set("Content-Type", "text/xml")
	return xml.Marshal(out)
}
