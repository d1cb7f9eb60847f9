package sigv4

import (
	"encoding/hex"
	"strings"
)

const algorithm = "AWS4-HMAC-SHA256"

// authorization is a parsed Authorization header. Its texts are parts of the
// header's.
type authorization struct {
	accessKeyID string
	scope       string // date/region/service/terminator
	date        string // yyyymmdd
	region      string
	service     string
	terminator  string
	signed      string // names of headers: lower case, sorted, each once, separated by ;
	signature   [32]byte
}

// parseAuthorization reads the value of an Authorization header.
func parseAuthorization(value string) (a authorization, err error) {
	rest, ok := strings.CutPrefix(value, algorithm)
	if !ok || rest != "" && rest[0] != ' ' {
		return a, refuse(KindIncomplete, "Authorization header requires the algorithm %s.", algorithm)
	}
	p, err := splitParameters(rest)
	if err != nil {
		return a, err
	}
	if err := a.setCredential(p.credential); err != nil {
		return a, err
	}
	if err := a.setSigned(p.signedHeaders); err != nil {
		return a, err
	}
	return a, a.setSignature(p.signature)
}

// parameters are those of an Authorization header; "" is one that isn't there.
type parameters struct{ credential, signedHeaders, signature string }

// splitParameters reads "name=value, name=value". Each of the three parameters
// must be there once, and no others.
func splitParameters(text string) (p parameters, err error) {
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.Trim(part, " "), "=")
		target := p.named(name)
		switch {
		case target == nil:
			return p, refuse(KindIncomplete, "Authorization header has an unknown parameter; it needs 'Credential', 'SignedHeaders' and 'Signature'.")
		case *target != "":
			return p, refuse(KindIncomplete, "Authorization header has the parameter '%s' twice.", name)
		}
		*target = value
	}
	for _, name := range [...]string{"Credential", "SignedHeaders", "Signature"} {
		if *p.named(name) == "" {
			return p, refuse(KindIncomplete, "Authorization header requires '%s' parameter.", name)
		}
	}
	return p, nil
}

// named is where a parameter goes; nil if there is none of that name.
func (p *parameters) named(name string) *string {
	switch name {
	case "Credential":
		return &p.credential
	case "SignedHeaders":
		return &p.signedHeaders
	case "Signature":
		return &p.signature
	}
	return nil
}

func (a *authorization) setCredential(text string) error {
	var fields [5]string
	n := 0
	for field := range strings.SplitSeq(text, "/") {
		if n < len(fields) {
			fields[n] = field
		}
		if n++; field == "" {
			n = len(fields) + 1
		}
	}
	if n != len(fields) {
		return refuse(KindIncomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
	}
	a.accessKeyID, a.date, a.region, a.service, a.terminator = fields[0], fields[1], fields[2], fields[3], fields[4]
	a.scope = text[len(a.accessKeyID)+1:]
	return nil
}

// setSigned demands the one canonical form, so that a header can't be named in
// two ways.
func (a *authorization) setSigned(text string) error {
	before := ""
	for name := range strings.SplitSeq(text, ";") {
		if name <= before || name != strings.ToLower(name) {
			return refuse(KindIncomplete, "SignedHeaders must be lower-case names in order, each once.")
		}
		before = name
	}
	a.signed = text
	return nil
}

// mustSign demands that a signature covers a header.
func (a *authorization) mustSign(name string) error {
	for signed := range strings.SplitSeq(a.signed, ";") {
		if signed == name {
			return nil
		}
	}
	return refuse(KindInvalid, "'%s' must be a signed header.", name)
}

func (a *authorization) setSignature(text string) error {
	if len(text) != hex.EncodedLen(len(a.signature)) || text != strings.ToLower(text) {
		return errSignatureForm()
	}
	if _, err := hex.Decode(a.signature[:], []byte(text)); err != nil {
		return errSignatureForm()
	}
	return nil
}

func errSignatureForm() *Error {
	return refuse(KindIncomplete, "Signature must be 64 lower-case hexadecimal digits.")
}
