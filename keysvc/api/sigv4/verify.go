package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// Window is how far a request's time may be from the server's.
const Window = 5 * time.Minute

const timeFormat = "20060102T150405Z"

// Request is a request whose headers are in order, and whose signature is still
// to be verified.
type Request struct {
	request *http.Request
	auth    authorization
	date    string // X-Amz-Date
}

// AccessKeyID is the access key that the request claims.
func (r *Request) AccessKeyID() string { return r.auth.accessKeyID }

// Region is the region of the credential scope, as it stands there.
func (r *Request) Region() string { return r.auth.region }

// Parse reads the signature of a request for a service, such as "kms", and checks
// its form, its time and its scope. Its errors are of type [*Error].
func Parse(r *http.Request, service string, now time.Time) (*Request, error) {
	value, err := authorizationHeader(r)
	if err != nil {
		return nil, err
	}
	auth, err := parseAuthorization(value)
	if err != nil {
		return nil, err
	}
	if r.Method != http.MethodPost || r.URL.EscapedPath() != "/" || r.URL.RawQuery != "" || r.URL.ForceQuery {
		return nil, refuse(KindInvalid, "Only POST to / without a query can be signed.")
	}
	date, err := single(r, "X-Amz-Date")
	if err != nil {
		return nil, err
	}
	if err := checkTime(date, now); err != nil {
		return nil, err
	}
	if err := auth.checkScope(date, service); err != nil {
		return nil, err
	}
	if err := auth.checkSigned(r); err != nil {
		return nil, err
	}
	if r.Header.Get("X-Amz-Security-Token") != "" {
		return nil, UnknownKey() // there are no sessions here
	}
	return &Request{request: r, auth: auth, date: date}, nil
}

// authorizationHeader is the header with the signature.
func authorizationHeader(r *http.Request) (string, error) {
	value, err := single(r, "Authorization")
	switch {
	case err != nil || value != "":
		return value, err
	case Presigned(r):
		return "", refuse(KindMissing, "Presigned requests are not accepted: sign the headers of a POST to /.")
	default:
		return "", refuse(KindMissing, "Missing Authentication Token")
	}
}

// Presigned tells whether a request has its signature in the query, which is no
// form that is accepted here.
func Presigned(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "X-Amz-Signature=") }

// single returns a header that must not be there twice; "" if it isn't there.
func single(r *http.Request, name string) (string, error) {
	switch values := r.Header[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", refuse(KindIncomplete, "The header %s is there twice.", name)
	}
}

// checkTime demands a time within [Window] of the server's.
func checkTime(date string, now time.Time) error {
	if date == "" {
		return refuse(KindIncomplete, "Authorization header requires existence of a 'X-Amz-Date' header.")
	}
	t, err := time.Parse(timeFormat, date)
	if err != nil || len(date) != len(timeFormat) {
		return refuse(KindIncomplete, "Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", shown(date))
	}
	if earliest := now.Add(-Window); t.Before(earliest.Truncate(time.Second)) {
		return refuse(KindInvalid, "Signature expired: %s is now earlier than %s (%s - 5 min.)", date, stamp(earliest), stamp(now))
	}
	if last := now.Add(Window); t.After(last) {
		return refuse(KindInvalid, "Signature not yet current: %s is still later than %s (%s + 5 min.)", date, stamp(last), stamp(now))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(timeFormat) }

func (a *authorization) checkScope(date, service string) error {
	switch {
	case a.service != service:
		return refuse(KindInvalid, "Credential should be scoped to correct service: '%s'.", service)
	case a.terminator != "aws4_request":
		return refuse(KindInvalid, "Credential should be scoped with a valid terminator: 'aws4_request', not '%s'.", shown(a.terminator))
	case a.date != date[:8]:
		return refuse(KindInvalid, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", shown(a.date), date[:8], date)
	}
	return nil
}

// checkSigned demands that the signature covers what decides about the request.
func (a *authorization) checkSigned(r *http.Request) error {
	if err := a.mustSign("host"); err != nil {
		return err
	}
	if err := a.mustSign("x-amz-date"); err != nil {
		return err
	}
	if target, err := single(r, "X-Amz-Target"); err != nil || target == "" {
		return err
	}
	return a.mustSign("x-amz-target")
}

// Verify checks the signature over the headers and the body, in constant time
// with regard to the secret. Its errors are of type [*Error].
func (r *Request) Verify(keys *Keys, secret Secret, body []byte) error {
	room := keys.takeRoom()
	defer keys.room.Put(room)
	sum := sha256.Sum256(body)
	bodyHash := hex.AppendEncode(room[:0], sum[:])
	if err := r.checkClaimed(bodyHash); err != nil {
		return err
	}
	canonical, err := appendCanonical(room[len(bodyHash):len(bodyHash)], r.request, r.auth.signed, bodyHash)
	if err != nil {
		return err
	}
	text := appendStringToSign(room[:0], r.date, r.auth.scope, canonical) // over the canonical text, of which only the hash is needed
	scope := keyScope{secret, r.auth.date, r.auth.region, r.auth.service, r.auth.terminator}
	key, kept := keys.find(&scope)
	if !hmac.Equal(key.sign(text[len(text):], text), r.auth.signature[:]) {
		return refuse(KindInvalid, "The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	if !kept {
		keys.keep(scope, key)
	}
	return nil
}

// checkClaimed compares what the request says its body's hash is, if it says so.
func (r *Request) checkClaimed(bodyHash []byte) error {
	for _, claimed := range r.request.Header["X-Amz-Content-Sha256"] {
		switch {
		case claimed == string(bodyHash):
		case len(claimed) != len(bodyHash):
			return refuse(KindInvalid, "x-amz-content-sha256 must be the SHA-256 of the body: unsigned and chunked payloads are not accepted.")
		default:
			return refuse(KindInvalid, "The provided 'x-amz-content-sha256' header does not match what was computed.")
		}
	}
	return nil
}
