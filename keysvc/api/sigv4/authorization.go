package sigv4

import (
	"encoding/hex"
	"slices"
	"strings"
)

const algorithm = "AWS4-HMAC-SHA256"

// authorization is a parsed Authorization header.
type authorization struct {
	accessKeyID string
	date        string // yyyymmdd
	region      string
	service     string
	terminator  string
	signed      []string // names of headers: lower case, sorted, each once
	signature   []byte   // 32 bytes
}

// scope is the credential scope.
func (a *authorization) scope() string {
	return strings.Join([]string{a.date, a.region, a.service, a.terminator}, "/")
}

// parseAuthorization reads the value of an Authorization header.
func parseAuthorization(value string) (*authorization, error) {
	rest, ok := strings.CutPrefix(value, algorithm)
	if !ok || rest != "" && rest[0] != ' ' {
		return nil, refuse(KindIncomplete, "Authorization header requires the algorithm %s.", algorithm)
	}
	parts, err := splitParameters(rest)
	if err != nil {
		return nil, err
	}
	a := &authorization{}
	if err := a.setCredential(parts["Credential"]); err != nil {
		return nil, err
	}
	if err := a.setSigned(parts["SignedHeaders"]); err != nil {
		return nil, err
	}
	return a, a.setSignature(parts["Signature"])
}

// splitParameters reads "name=value, name=value". Each of the three parameters
// must be there once, and no others.
func splitParameters(text string) (map[string]string, error) {
	parts := make(map[string]string, 3)
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.Trim(part, " "), "=")
		if _, twice := parts[name]; twice {
			return nil, refuse(KindIncomplete, "Authorization header has a parameter twice.")
		}
		parts[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if parts[name] == "" {
			return nil, refuse(KindIncomplete, "Authorization header requires '%s' parameter.", name)
		}
	}
	if len(parts) != 3 {
		return nil, refuse(KindIncomplete, "Authorization header has an unknown parameter.")
	}
	return parts, nil
}

func (a *authorization) setCredential(text string) error {
	fields := strings.Split(text, "/")
	if len(fields) != 5 || slices.Contains(fields, "") {
		return refuse(KindIncomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
	}
	a.accessKeyID, a.date, a.region, a.service, a.terminator = fields[0], fields[1], fields[2], fields[3], fields[4]
	return nil
}

// setSigned demands the one canonical form, so that a header can't be named in
// two ways.
func (a *authorization) setSigned(text string) error {
	a.signed = strings.Split(text, ";")
	for i, name := range a.signed {
		if name == "" || name != strings.ToLower(name) || i > 0 && a.signed[i-1] >= name {
			return refuse(KindIncomplete, "SignedHeaders must be lower-case names in order, each once.")
		}
	}
	return nil
}

// mustSign demands that a signature covers some headers.
func (a *authorization) mustSign(names ...string) error {
	for _, name := range names {
		if !slices.Contains(a.signed, name) {
			return refuse(KindInvalid, "'%s' must be a signed header.", name)
		}
	}
	return nil
}

func (a *authorization) setSignature(text string) error {
	signature, err := hex.DecodeString(text)
	if err != nil || len(signature) != 32 || text != strings.ToLower(text) {
		return refuse(KindIncomplete, "Signature must be 64 lower-case hexadecimal digits.")
	}
	a.signature = signature
	return nil
}
