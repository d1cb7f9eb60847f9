package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"
)

// Window is how far a request's time may be from the server's.
const Window = 5 * time.Minute

const timeFormat = "20060102T150405Z"

// Request is a request whose headers are in order, and whose signature is still
// to be verified.
type Request struct {
	request *http.Request
	auth    *authorization
	date    string // X-Amz-Date
}

// AccessKeyID is the access key that the request claims.
func (r *Request) AccessKeyID() string { return r.auth.accessKeyID }

// Region is the region of the credential scope, as it stands there.
func (r *Request) Region() string { return r.auth.region }

// Parse reads the signature of a request for a service, such as "kms", and checks
// its form, its time and its scope. Its errors are of type [*Error].
func Parse(r *http.Request, service string, now time.Time) (*Request, error) {
	value, err := single(r, "Authorization")
	if err != nil {
		return nil, err
	}
	if value == "" {
		return nil, refuse(KindMissing, "Missing Authentication Token")
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
	target, err := single(r, "X-Amz-Target")
	if err != nil {
		return nil, err
	}
	required := []string{"host", "x-amz-date"}
	if target != "" {
		required = append(required, "x-amz-target")
	}
	if err := auth.mustSign(required...); err != nil {
		return nil, err
	}
	if r.Header.Get("X-Amz-Security-Token") != "" {
		return nil, UnknownKey() // there are no sessions here
	}
	return &Request{request: r, auth: auth, date: date}, nil
}

// single returns a header that must not be there twice; "" if it isn't there.
func single(r *http.Request, name string) (string, error) {
	switch values := r.Header.Values(name); len(values) {
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
	t, err := time.Parse(timeFormat, date)
	if err != nil || len(date) != len(timeFormat) {
		return refuse(KindIncomplete, "Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", date)
	}
	server := now.UTC().Format(timeFormat)
	if earliest := now.Add(-Window); t.Before(earliest.Truncate(time.Second)) {
		return refuse(KindInvalid, "Signature expired: %s is now earlier than %s (%s - 5 min.)", date, earliest.UTC().Format(timeFormat), server)
	}
	if last := now.Add(Window); t.After(last) {
		return refuse(KindInvalid, "Signature not yet current: %s is still later than %s (%s + 5 min.)", date, last.UTC().Format(timeFormat), server)
	}
	return nil
}

func (a *authorization) checkScope(date, service string) error {
	switch {
	case a.service != service:
		return refuse(KindInvalid, "Credential should be scoped to correct service: '%s'.", service)
	case a.terminator != "aws4_request":
		return refuse(KindInvalid, "Credential should be scoped with a valid terminator: 'aws4_request', not '%s'.", a.terminator)
	case a.date != date[:8]:
		return refuse(KindInvalid, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", a.date, date[:8], date)
	}
	return nil
}

// Verify checks the signature over the headers and the body, in constant time
// with regard to the secret. Its errors are of type [*Error].
func (r *Request) Verify(keys *Keys, secret Secret, body []byte) error {
	sum := sha256.Sum256(body)
	bodyHash := hex.EncodeToString(sum[:])
	for _, claimed := range r.request.Header.Values("X-Amz-Content-Sha256") {
		if claimed != bodyHash {
			return mismatch()
		}
	}
	canonical, err := canonicalRequest(r.request, r.auth.signed, bodyHash)
	if err != nil {
		return err
	}
	want := keys.sign(secret, r.auth, stringToSign(r.date, r.auth.scope(), canonical))
	if !hmac.Equal(want, r.auth.signature) {
		return mismatch()
	}
	return nil
}

func mismatch() *Error {
	return refuse(KindInvalid, "The request signature we calculated does not match the signature you provided. "+
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
}
