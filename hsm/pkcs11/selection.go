package pkcs11

import (
	"errors"
	"fmt"
	"strings"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// selection says which token is meant. Empty fields match anything.
type selection struct{ label, serial, manufacturer, model string }

func (s selection) matches(t p11.TokenInfo) bool {
	return matchField(s.label, t.Label) && matchField(s.serial, t.SerialNumber) &&
		matchField(s.manufacturer, t.ManufacturerID) && matchField(s.model, t.Model)
}

// matchField compares with a blank-padded field.
func matchField(want, have string) bool { return want == "" || trimField(have) == want }

// trimField removes the padding of the fixed-size fields.
func trimField(s string) string { return strings.TrimRight(s, " \x00") }

func (s selection) String() string {
	var parts []string
	for _, f := range []struct{ name, value string }{
		{"token", s.label}, {"serial", s.serial}, {"manufacturer", s.manufacturer}, {"model", s.model}} {
		if f.value != "" {
			parts = append(parts, fmt.Sprintf("%s %q", f.name, f.value))
		}
	}
	return strings.Join(parts, ", ")
}

// locate finds the slot of the one token that matches. Tokens that can't be
// asked or aren't initialised don't count.
func (s selection) locate(api cryptoki) (slot, p11.TokenInfo, error) {
	slots, err := api.slots()
	if err != nil {
		return 0, p11.TokenInfo{}, err
	}
	var found []slot
	var info p11.TokenInfo
	for _, sl := range slots {
		t, err := api.tokenInfo(sl)
		if classify(err) == classFatal && !isCall(err, p11.CKR_TOKEN_NOT_PRESENT) && !isCall(err, p11.CKR_TOKEN_NOT_RECOGNIZED) {
			return 0, info, err
		}
		if err == nil && t.Flags&p11.CKF_TOKEN_INITIALIZED != 0 && s.matches(t) {
			found, info = append(found, sl), t
		}
	}
	switch len(found) {
	case 1:
		return found[0], info, nil
	case 0:
		return 0, info, tokenError(fmt.Errorf("no token with %s", s), "is it the right module, and the right configuration of it? p11tool --list-tokens or pkcs11-tool -L show what there is")
	}
	return 0, info, tokenError(fmt.Errorf("%d tokens with %s", len(found), s), "select by serial number")
}

func tokenError(err error, hint string) error {
	return &hsm.Error{Op: "Open", Kind: hsm.KindTokenNotFound, Err: err, Help: hint}
}

// libraryName describes the module for Info.
func libraryName(i p11.Info) string {
	return fmt.Sprintf("%s %d.%d", trimField(i.LibraryDescription), i.LibraryVersion.Major, i.LibraryVersion.Minor)
}

// isTokenNotFound reports whether the token, not the module, is what is missing.
func isTokenNotFound(err error) bool {
	var e *hsm.Error
	return errors.As(err, &e) && e.Kind == hsm.KindTokenNotFound
}
