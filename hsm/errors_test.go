package hsm

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestErrorsAreFoundByKind(t *testing.T) {
	err := fmt.Errorf("outer: %w", &Error{Op: "Unwrap", Kind: KindKeyNotFound, Err: io.EOF, Help: "look"})
	if !IsKind(err, KindKeyNotFound) || IsKind(err, KindInternal) || IsKind(io.EOF, KindInternal) || IsKind(nil, KindInternal) {
		t.Error("IsKind")
	}
	if !errors.Is(err, &Error{Kind: KindKeyNotFound}) || errors.Is(err, &Error{Kind: KindClosed}) ||
		errors.Is(err, &Error{Op: "Wrap", Kind: KindKeyNotFound}) || !errors.Is(err, io.EOF) {
		t.Error("errors.Is")
	}
	var e *Error
	if !errors.As(err, &e) || e.Hint() != "look" {
		t.Error("hint")
	}
	if got := e.Error(); got != "hsm: Unwrap: backing key not found: EOF" {
		t.Errorf("text %q", got)
	}
}

func TestEveryKindHasAName(t *testing.T) {
	seen := map[string]bool{}
	for k := KindInternal; k <= KindClosed; k++ {
		if s := k.String(); s == "" || seen[s] {
			t.Errorf("kind %d is %q", int(k), s)
		} else {
			seen[s] = true
		}
	}
	if got := Kind(99).String(); got != "Kind(99)" {
		t.Errorf("unknown kind is %q", got)
	}
}

func TestKeyIDTextRoundTrips(t *testing.T) {
	id := NewKeyID()
	got, err := ParseKeyID(id.String())
	if err != nil || got != id || id == NewKeyID() {
		t.Errorf("%s parsed is %s, %v", id, got, err)
	}
	for _, bad := range []string{"", "00", id.String() + "0", "zz" + id.String()[2:]} {
		if _, err := ParseKeyID(bad); !IsKind(err, KindInvalidArgument) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
