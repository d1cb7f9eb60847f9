package api

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestABodyIsReadWholeWhereverItIsCut(t *testing.T) {
	var all buffers
	want := strings.Repeat("0123456789", 2000)
	for name, from := range map[string]io.Reader{
		"at once": strings.NewReader(want), "byte by byte": iotest.OneByteReader(strings.NewReader(want)),
		"in halves": iotest.HalfReader(strings.NewReader(want)), "end with the last bytes": iotest.DataErrReader(strings.NewReader(want)),
	} {
		b := all.get()
		if err := b.read(from, len(want)); err != nil || string(b.text) != want {
			t.Errorf("%s: %v, %d bytes", name, err, len(b.text))
		}
		all.put(b)
	}
	if err := all.get().read(strings.NewReader(want), len(want)-1); err != error(errTooLarge) {
		t.Error(err)
	}
	if err := all.get().read(iotest.TimeoutReader(iotest.HalfReader(strings.NewReader(want))), len(want)); !errors.Is(err, iotest.ErrTimeout) {
		t.Error(err)
	}
}

func TestNothingOfABodyIsLeftInABuffer(t *testing.T) {
	var all buffers
	b := all.get()
	first := b.text[:cap(b.text)]
	if err := b.read(strings.NewReader(strings.Repeat("secret", 1000)), MaxBody); err != nil {
		t.Fatal(err)
	}
	last := b.text[:cap(b.text)]
	all.put(b)
	if bytes.Contains(first, []byte("secret")) || bytes.Contains(last, []byte("secret")) || &first[0] == &last[0] {
		t.Error("a secret is left")
	}
}

// A client that promises much and sends little holds little.
func TestRoomIsMadeForWhatHasCome(t *testing.T) {
	var all buffers
	b := all.get()
	if err := b.read(iotest.TimeoutReader(strings.NewReader("{")), MaxBody); err == nil || cap(b.text) > maxKept {
		t.Errorf("%v, room for %d bytes", err, cap(b.text))
	}
}
