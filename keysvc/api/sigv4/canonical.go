package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
)

// appendCanonical appends the text that a signature is made of, for a POST to /
// without a query. It fails if a signed header isn't there.
func appendCanonical(to []byte, r *http.Request, signed string, bodyHash []byte) ([]byte, error) {
	to = append(to, "POST\n/\n\n"...)
	for name := range strings.SplitSeq(signed, ";") {
		to = append(append(to, name...), ':')
		var ok bool
		if to, ok = appendHeader(to, r, name); !ok {
			return nil, refuse(KindInvalid, "The signed header '%s' is not in the request.", shown(name))
		}
		to = append(to, '\n')
	}
	to = append(append(append(to, '\n'), signed...), '\n')
	return append(to, bodyHash...), nil
}

// appendHeader appends the canonical value of a header and tells whether it is
// there. net/http keeps Host, with its port, and Content-Length apart from the
// others.
func appendHeader(to []byte, r *http.Request, name string) ([]byte, bool) {
	switch name {
	case "host":
		return appendCollapsed(to, r.Host), r.Host != ""
	case "content-length":
		return strconv.AppendInt(to, r.ContentLength, 10), r.ContentLength >= 0
	}
	values := r.Header[headerKey(name)]
	for i, v := range values {
		if i > 0 {
			to = append(to, ',')
		}
		to = appendCollapsed(to, v)
	}
	return to, len(values) > 0
}

// headerKey is net/http's spelling of a header's name, without a copy for those
// that SDKs sign.
func headerKey(name string) string {
	switch name {
	case "content-type":
		return "Content-Type"
	case "x-amz-date":
		return "X-Amz-Date"
	case "x-amz-target":
		return "X-Amz-Target"
	case "x-amz-content-sha256":
		return "X-Amz-Content-Sha256"
	case "x-amz-user-agent":
		return "X-Amz-User-Agent"
	case "amz-sdk-invocation-id":
		return "Amz-Sdk-Invocation-Id"
	case "amz-sdk-request":
		return "Amz-Sdk-Request"
	}
	return http.CanonicalHeaderKey(name)
}

// appendCollapsed appends a header's value, trimmed, with one space where there
// is a run of them.
func appendCollapsed(to []byte, value string) []byte {
	value = strings.TrimSpace(value)
	for {
		i := strings.Index(value, "  ")
		if i < 0 {
			return append(to, value...)
		}
		to = append(to, value[:i+1]...)
		value = strings.TrimLeft(value[i:], " ")
	}
}

// appendStringToSign names the algorithm, the time, the scope and the request.
func appendStringToSign(to []byte, date, scope string, canonical []byte) []byte {
	sum := sha256.Sum256(canonical)
	to = append(append(to, algorithm...), '\n')
	to = append(append(to, date...), '\n')
	to = append(append(to, scope...), '\n')
	return hex.AppendEncode(to, sum[:])
}
