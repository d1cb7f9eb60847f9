package integration

import (
	"slices"
	"strings"
	"testing"
)

// The rooms of the house and what each may import: other rooms, and modules beyond the standard
// library. Arrows run downwards only. Nothing imports cmd or integration, which is why no room lists
// them.
var rooms = map[string]struct {
	rooms   []string
	modules []string
}{
	"hsm":      {nil, []string{"github.com/miekg/pkcs11", "github.com/decred/dcrd/dcrec/secp256k1/v4", "golang.org/x/s"}},
	"keysvc":   {[]string{"hsm"}, []string{"github.com/aws/", "github.com/google/uuid", "github.com/jackc/pgx/v5", "github.com/prometheus/", "golang.org/x/s", "golang.org/x/time", "modernc.org/sqlite"}},
	"envelope": {nil, []string{"github.com/klauspost/compress"}},
	"fs":       {[]string{"envelope"}, []string{"github.com/aws/", "github.com/hanwen/go-fuse/v2", "golang.org/x/s"}},
	"cmd": {[]string{"envelope", "fs", "hsm", "keysvc"},
		[]string{"github.com/aws/", "github.com/coreos/go-systemd/v22/daemon", "github.com/spf13/", "github.com/dustin/go-humanize", "github.com/youmark/pkcs8", "golang.org/x/"}},
	"integration": {[]string{"envelope", "fs", "hsm", "keysvc"}, []string{""}},
}

// testOnly may be imported by the tests of every room.
var testOnly = []string{"github.com/rogpeppe/go-internal"}

// testRooms are further rooms that the tests of a room may import: real parts instead of mocks.
var testRooms = map[string][]string{"fs": {"hsm", "keysvc"}}

func TestImportsRunDownwardsOnly(t *testing.T) {
	pkgs := load(t, production)
	for _, p := range pkgs {
		for path := range p.Imports {
			if why := forbidden(p.PkgPath, path, false); why != "" {
				t.Errorf("%s imports %s: %s", p.PkgPath, path, why)
			}
		}
	}
}

func TestImportsOfTestsRunDownwardsOnly(t *testing.T) {
	pkgs := load(t, withTests)
	for _, f := range sourceFiles(t, pkgs) {
		for _, spec := range f.ast.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if why := forbidden(f.pkg.PkgPath, path, f.isTest()); why != "" {
				t.Errorf("%s imports %s: %s", f.path, path, why)
			}
		}
	}
}

// forbidden tells why a package must not import a path, or "".
func forbidden(from, path string, test bool) string {
	own := strings.TrimSuffix(room(from), "_test")
	rules, known := rooms[own]
	if !known {
		return "the importing package is in no known room"
	}
	if to := room(path); to != "" {
		if to == own || slices.Contains(rules.rooms, to) || test && slices.Contains(testRooms[own], to) {
			return ""
		}
		return "arrow from " + own + " to " + to
	}
	first, _, _ := strings.Cut(path, "/")
	if !strings.Contains(first, ".") {
		return "" // standard library
	}
	allowed := rules.modules
	if test {
		allowed = append(slices.Clone(allowed), testOnly...)
		for _, r := range testRooms[own] {
			allowed = append(allowed, rooms[r].modules...)
		}
	}
	if slices.ContainsFunc(allowed, func(m string) bool { return strings.HasPrefix(path, m) }) {
		return ""
	}
	return "a module that room " + own + " does not list"
}

func TestForbiddenFindsUpwardArrows(t *testing.T) {
	for _, c := range []struct {
		from, to string
		test     bool
		ok       bool
	}{
		{"keysvc", modulePath + "/hsm", false, true},
		{"keysvc/embedded", modulePath + "/hsm/pkcs11", false, true},
		{"hsm", modulePath + "/keysvc", false, false},
		{"hsm", modulePath + "/keysvc", true, false},
		{"fs", modulePath + "/keysvc", false, false},
		{"fs", modulePath + "/keysvc/embedded", true, true},
		{"envelope", modulePath + "/fs", false, false},
		{"fs", modulePath + "/cmd/kmsfs/control", true, false},
		{"envelope", "github.com/miekg/pkcs11", false, false},
		{"envelope", "crypto/aes", false, true},
	} {
		if got := forbidden(modulePath+"/"+c.from, c.to, c.test); (got == "") != c.ok {
			t.Errorf("%s imports %s (test %v): %q", c.from, c.to, c.test, got)
		}
	}
}

func TestOnlyThePKCS11PackageUsesCgo(t *testing.T) {
	pkgs := load(t, production)
	for _, p := range pkgs {
		_, usesC := p.Imports["C"]
		_, usesModule := p.Imports["github.com/miekg/pkcs11"]
		if (usesC || usesModule) && p.PkgPath != modulePath+"/hsm/pkcs11" {
			t.Errorf("%s uses cgo or the PKCS#11 binding; only hsm/pkcs11 may", p.PkgPath)
		}
	}
}

func TestEnvelopeNeverTouchesTheOperatingSystem(t *testing.T) {
	pkgs := load(t, production)
	for _, p := range pkgs {
		if room(p.PkgPath) != "envelope" {
			continue
		}
		for _, path := range []string{"os", "syscall", "net", "net/http"} {
			if _, ok := p.Imports[path]; ok {
				t.Errorf("%s imports %s", p.PkgPath, path)
			}
		}
	}
}
