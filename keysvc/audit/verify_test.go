package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestFrozenLine(t *testing.T) {
	const want = `{"eventVersion":"1.11","eventName":"X","chain":{"seq":1,"prev":"0000000000000000000000000000000000000000000000000000000000000000","hash":"` +
		`393b0e0d3492a095baded3103c99992ac9c6abff4d13d4acdfc0bbef7e420acc"}}` + "\n"
	line, next := genesis().seal(nil, []byte(`{"eventVersion":"1.11","eventName":"X"}`))
	if string(line) != want {
		t.Fatalf("line %s", line)
	}
	got, ok := parseLink(bytes.TrimSuffix(line, []byte("\n")))
	if !ok || got.tail != next || got.previous != genesis().hash {
		t.Fatalf("parsed as %+v, %v", got, ok)
	}
}

func TestVerifyFindsEveryManipulation(t *testing.T) {
	l := newTrail(t, Config{})
	appendAll(t, l, "a", "b", "c", "d", "e")
	original, err := os.ReadFile(l.config.Path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(original, []byte("\n"))[:5]
	join := func(order ...int) []byte {
		var out []byte
		for _, i := range order {
			out = append(out, lines[i]...)
		}
		return out
	}
	forged, _ := genesis().seal(nil, []byte(`{"eventName":"Forged"}`))
	for name, c := range map[string]struct {
		content []byte
		line    uint64
	}{
		"record edited":            {bytes.Replace(original, []byte(`"eventID":"b"`), []byte(`"eventID":"x"`), 1), 2},
		"last record edited":       {bytes.Replace(original, []byte(`"eventID":"e"`), []byte(`"eventID":"x"`), 1), 5},
		"first record dropped":     {join(1, 2, 3, 4), 1},
		"record dropped":           {join(0, 1, 3, 4), 3},
		"records swapped":          {join(0, 2, 1, 3, 4), 2},
		"record doubled":           {join(0, 1, 1, 2, 3, 4), 3},
		"record inserted":          {append(join(0, 1), append(bytes.Clone(forged), join(2, 3, 4)...)...), 3},
		"empty line inserted":      {append(join(0, 1), append([]byte("\n"), join(2, 3, 4)...)...), 3},
		"trail of another service": {append(join(0), forged...), 2},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "copy")
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			report := verify(t, path)
			if report.Intact() || report.Problems[0].Line != c.line {
				t.Fatalf("problems %+v, want the first one in line %d", report.Problems, c.line)
			}
		})
	}
	wantIntact(t, l.config.Path, 5)
}

func TestEditIsOneProblem(t *testing.T) {
	l := newTrail(t, Config{})
	appendAll(t, l, "a", "b", "c")
	original, _ := os.ReadFile(l.config.Path)
	edited := bytes.Replace(original, []byte(`"eventID":"b"`), []byte(`"eventID":"x"`), 1)
	if err := os.WriteFile(l.config.Path, edited, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, l.config.Path); len(r.Problems) != 1 {
		t.Errorf("problems %+v", r.Problems)
	}
}

func FuzzLine(f *testing.F) {
	line, _ := genesis().seal(nil, []byte(`{"eventName":"X"}`))
	f.Add(bytes.TrimSuffix(line, []byte("\n")))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"a":1,"chain":{"seq":18446744073709551616,"prev":"","hash":""}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		_, _ = ParseRecord(line)
		l, ok := parseLink(line)
		if !ok {
			return
		}
		// What parses must be what seal makes of the event before it.
		body, _, _ := splitHash(line)
		at := bytes.LastIndex(body, []byte(chainOpen))
		before := tail{sequence: l.sequence - 1, hash: l.previous}
		again, next := before.seal(nil, append(bytes.Clone(body[:at]), '}'))
		if !bytes.Equal(again, append(bytes.Clone(line), '\n')) && !bytes.HasPrefix(body[at+len(chainOpen):], []byte("0")) {
			t.Errorf("%q parses, and seals to %q", line, again)
		} else if next.hash != l.hash && !bytes.HasPrefix(body[at+len(chainOpen):], []byte("0")) {
			t.Errorf("hash %s becomes %s", l.hash, next.hash)
		}
	})
}

func FuzzVerify(f *testing.F) {
	one, next := genesis().seal(nil, []byte(`{"eventName":"X"}`))
	two, _ := next.seal(one, []byte(`{"eventName":"Y"}`))
	f.Add(two)
	f.Add([]byte("\n\n{"))
	f.Fuzz(func(t *testing.T, content []byte) {
		in := newLines(bytes.NewReader(content))
		report, err := verifyLines(&in)
		if err != nil {
			t.Fatal(err)
		}
		whole := bytes.Count(content, []byte("\n"))
		if report.Records != uint64(whole) || len(report.Problems) > maxProblems {
			t.Errorf("%d records and %d problems in %d lines", report.Records, len(report.Problems), whole)
		}
		if !report.Intact() {
			return
		}
		// The naive check: numbers count up and each record names the one before.
		previous := string(bytes.Repeat([]byte("0"), hexHash))
		for i, line := range bytes.SplitN(content, []byte("\n"), whole+1)[:whole] {
			r, err := ParseRecord(line)
			if err != nil || r.Chain.Sequence != uint64(i+1) || r.Chain.Previous != previous {
				t.Fatalf("line %d of an intact trail is %+v, %v", i+1, r.Chain, err)
			}
			previous = r.Chain.Hash
		}
	})
}
