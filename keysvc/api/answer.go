package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/kmsfs/kmsfs/keysvc"
	"github.com/kmsfs/kmsfs/keysvc/api/awsjson"
	"github.com/kmsfs/kmsfs/keysvc/api/sigv4"
)

const contentType = "application/x-amz-json-1.1"

// Refusals that no other package has a type for.
var (
	errUnknownOperation = &refusal{http.StatusBadRequest, "UnknownOperationException", ""}
	errNotFound         = &refusal{http.StatusNotFound, "UnknownOperationException", ""}
	errTooLarge         = &refusal{http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "The request is longer than " + strconv.Itoa(MaxBody) + " bytes."}
	errSlow             = &refusal{http.StatusRequestTimeout, "RequestTimeoutException", "The request's body took longer than " + readTime.String() + "."}
	errThrottled        = &refusal{http.StatusBadRequest, "ThrottlingException", "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."}
	errSerialization    = &refusal{http.StatusBadRequest, "SerializationException", ""}
	errScope            = &refusal{http.StatusBadRequest, "InvalidSignatureException", "Credential should be scoped to a valid region."}
	errFailed           = &refusal{http.StatusInternalServerError, "KMSInternalException", "The key service failed; its log has the cause."}
)

// refusal is an error as a client sees it.
type refusal struct {
	status  int
	name    string // AWS's
	message string // "" = none is sent
}

func (r *refusal) Error() string { return r.name + ": " + r.message }

// refusalFor finds what a client sees of an error. What has no name here is the
// server's own fault.
func refusalFor(err error) *refusal {
	var own *refusal
	var service *keysvc.Error
	var signature *sigv4.Error
	var body *awsjson.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &service):
		return &refusal{service.Kind.HTTPStatus(), service.ErrorCode(), service.Message}
	case errors.As(err, &signature):
		return &refusal{http.StatusBadRequest, signature.Kind.String(), signature.Message}
	case errors.As(err, &body):
		return errSerialization
	default:
		return errFailed
	}
}

// body is the refusal in JSON. AWS spells the text's member in two ways.
func (r *refusal) body() []byte {
	members := map[string]string{"__type": r.name}
	switch {
	case r.message == "":
	case r.name == "AccessDeniedException":
		members["Message"] = r.message
	default:
		members["message"] = r.message
	}
	text, _ := json.Marshal(members) // strings can't fail
	return text
}

// answer writes status and body. A client that is gone gets nothing.
func answer(w http.ResponseWriter, status int, q *request, body []byte) {
	h := w.Header()
	h["X-Amzn-Requestid"] = []string{q.id}
	h["Content-Type"] = q.answerType()
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["Cache-Control"] = noStore[:]
	h["Pragma"] = noCache[:]
	h["Expires"] = past[:]
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// Values of headers that never change; net/http only reads them.
var (
	jsonType = [...]string{contentType}
	xmlType  = [...]string{"text/xml"}
	noStore  = [...]string{"no-cache, no-store, must-revalidate, private"}
	noCache  = [...]string{"no-cache"}
	past     = [...]string{"0"}
)

// answerType is the media type of the protocol that the request speaks.
func (q *request) answerType() []string {
	if q.query {
		return xmlType[:]
	}
	return jsonType[:]
}
