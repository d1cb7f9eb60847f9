package pkcs11

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/kmsfs/kmsfs/hsm"
)

// URI is a PKCS#11 URI (RFC 7512), as far as it selects a token or a key in it.
// Absent attributes are empty.
type URI struct {
	Token, Serial, Manufacturer, Model string // path: the token
	Object, Type                       string // path: an object's label and class
	ID                                 []byte // path: CKA_ID
	SlotID                             string // path: accepted, never used to select

	ModulePath, ModuleName string // query
	PINSource              string // query: where the PIN is
	PINValue               PIN    // query: the PIN itself; nil when absent
	MaxSessions            int    // query, vendor attribute x-max-sessions; 0 when absent
}

const uriScheme = "pkcs11:"

// maxURI bounds what is parsed, in bytes.
const maxURI = 8192

// ParseURI reads a URI such as
//
//	pkcs11:token=kmsfs;serial=5d3d?module-path=/usr/lib/softhsm/libsofthsm2.so
//
// Unknown vendor attributes ("x-…") are ignored as RFC 7512 section 2.3 asks;
// other unknown or repeated attributes are errors of KindInvalidArgument.
func ParseURI(s string) (URI, error) {
	u, err := parseURI(s)
	if err != nil {
		// The text may hold a PIN and is not repeated.
		return URI{}, &hsm.Error{Op: "ParseURI", Kind: hsm.KindInvalidArgument, Err: err,
			Help: "for example pkcs11:token=NAME;serial=NUMBER"}
	}
	return u, nil
}

func parseURI(s string) (URI, error) {
	var u URI
	if len(s) > maxURI {
		return u, errors.New("PKCS#11 URI is too long")
	}
	if len(s) < len(uriScheme) || !strings.EqualFold(s[:len(uriScheme)], uriScheme) {
		return u, errors.New(`PKCS#11 URI does not start with "pkcs11:"`)
	}
	path, query, _ := strings.Cut(s[len(uriScheme):], "?")
	if err := u.parsePart(path, ";", u.pathAttribute); err != nil {
		return u, err
	}
	return u, u.parsePart(query, "&", u.queryAttribute)
}

// parsePart reads name=value pairs. target returns where to put a value, or nil
// for a name that it doesn't know.
func (u *URI) parsePart(part, separator string, target func(name string) func(string) error) error {
	if part == "" {
		return nil
	}
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(part, separator) {
		name, raw, ok := strings.Cut(pair, "=")
		if !ok || !validName(name) {
			return errors.New("PKCS#11 URI has a part that is not name=value")
		}
		if seen[name] {
			return fmt.Errorf("PKCS#11 URI has %s twice", name)
		}
		seen[name] = true
		if err := u.setAttribute(name, raw, target(name)); err != nil {
			return err
		}
	}
	return nil
}

func (u *URI) setAttribute(name, raw string, set func(string) error) error {
	value, err := url.PathUnescape(raw)
	if err != nil {
		return fmt.Errorf("PKCS#11 URI: %s has a malformed percent escape", name)
	}
	switch {
	case set != nil:
		return set(value)
	case strings.HasPrefix(name, "x-"):
		return nil
	}
	return fmt.Errorf("PKCS#11 URI: unknown attribute %s", name)
}

func validName(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return name != ""
}

// into returns a setter of a text attribute.
func into(field *string) func(string) error {
	return func(v string) error { *field = v; return nil }
}

func (u *URI) pathAttribute(name string) func(string) error {
	switch name {
	case "token":
		return into(&u.Token)
	case "serial":
		return into(&u.Serial)
	case "manufacturer":
		return into(&u.Manufacturer)
	case "model":
		return into(&u.Model)
	case "object":
		return into(&u.Object)
	case "type":
		return into(&u.Type)
	case "slot-id":
		return into(&u.SlotID)
	case "id":
		return func(v string) error { u.ID = []byte(v); return nil }
	case "library-manufacturer", "library-description", "library-version", "slot-manufacturer", "slot-description":
		return func(string) error { return nil }
	}
	return nil
}

func (u *URI) queryAttribute(name string) func(string) error {
	switch name {
	case "module-path":
		return into(&u.ModulePath)
	case "module-name":
		return into(&u.ModuleName)
	case "pin-source":
		return into(&u.PINSource)
	case "pin-value":
		return func(v string) error { u.PINValue = PIN(v); return nil }
	case "x-max-sessions":
		return u.setMaxSessions
	}
	return nil
}

func (u *URI) setMaxSessions(v string) error {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil || n == 0 {
		return errors.New("PKCS#11 URI: x-max-sessions is not a number from 1 to 65535")
	}
	u.MaxSessions = int(n)
	return nil
}

// readPIN reads the file that pin-source names, without a final newline.
func (u URI) readPIN() (PIN, error) {
	path := strings.TrimPrefix(u.PINSource, "file:")
	path = strings.TrimPrefix(path, "//")
	if strings.HasPrefix(path, "|") {
		return nil, invalidConfig("pin-source names a command", "name a file")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &hsm.Error{Op: "Open", Kind: hsm.KindInvalidArgument, Err: fmt.Errorf("pin-source: %w", err)}
	}
	n := len(b)
	for n > 0 && (b[n-1] == '\n' || b[n-1] == '\r') {
		n--
	}
	return PIN(b[:n]), nil
}
