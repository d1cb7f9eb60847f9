package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
)

// canonicalRequest is the text that a signature is made of, for a POST to /
// without a query. It fails if a signed header isn't there.
func canonicalRequest(r *http.Request, signed []string, bodyHash string) (string, error) {
	var text strings.Builder
	text.WriteString("POST\n/\n\n")
	for _, name := range signed {
		value, ok := headerValue(r, name)
		if !ok {
			return "", refuse(KindInvalid, "The signed header '%s' is not in the request.", name)
		}
		text.WriteString(name + ":" + value + "\n")
	}
	text.WriteString("\n" + strings.Join(signed, ";") + "\n" + bodyHash)
	return text.String(), nil
}

// headerValue is the canonical value of a header. net/http keeps Host, with its
// port, and Content-Length apart from the others.
func headerValue(r *http.Request, name string) (string, bool) {
	switch name {
	case "host":
		return collapse(r.Host), r.Host != ""
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10), r.ContentLength >= 0
	}
	values := r.Header.Values(name)
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = collapse(v)
	}
	return strings.Join(trimmed, ","), len(values) > 0
}

// collapse trims a header's value and makes runs of spaces one space.
func collapse(value string) string {
	value = strings.TrimSpace(value)
	if !strings.Contains(value, "  ") {
		return value
	}
	return strings.Join(strings.FieldsFunc(value, func(c rune) bool { return c == ' ' }), " ")
}

// stringToSign names the algorithm, the time, the scope and the request.
func stringToSign(date, scope, canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return strings.Join([]string{algorithm, date, scope, hex.EncodeToString(sum[:])}, "\n")
}
