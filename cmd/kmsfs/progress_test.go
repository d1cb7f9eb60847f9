package main

import (
	"bytes"
	"testing"
	"time"
)

func TestProgressPrintsNothingOnAPipe(t *testing.T) {
	var out bytes.Buffer
	p := (&ui{err: &out}).Progress("copied")
	p.Add(1, 100)
	p.Clear()
	p.Stop()
	if out.Len() > 0 || p.Shown() {
		t.Errorf("%q", out.String())
	}
}

func TestProgressLine(t *testing.T) {
	p := &progress{verb: "checked", started: time.Unix(0, 0), files: 25, bytes: 4 << 20}
	if got, want := p.line(time.Unix(2, 0)), "checked 25 files, 4.0 MiB, 2.0 MiB/s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.total = 100
	if got, want := p.line(time.Unix(2, 0)), "[######..................]  25%  checked 25 files, 4.0 MiB, 2.0 MiB/s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestProgressOnATerminalIsClearedBeforeOtherOutput(t *testing.T) {
	var out bytes.Buffer
	p := &progress{ui: &ui{err: &out}, verb: "copied", started: time.Now()}
	p.Add(1, 0)
	p.Add(1, 0) // too soon to be drawn
	p.Clear()
	p.Stop()
	if n := bytes.Count(out.Bytes(), []byte("\r")); n != 2 || !bytes.HasSuffix(out.Bytes(), []byte("\r\x1b[K")) {
		t.Errorf("%q", out.String())
	}
}
