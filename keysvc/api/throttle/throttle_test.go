package throttle

import (
	"slices"
	"testing"
	"time"
)

func isOperation(name string) bool {
	return slices.Contains([]string{"Decrypt", "CreateKey", "ListKeys"}, name)
}

func parse(t *testing.T, text string) *Limits {
	t.Helper()
	c, err := Parse([]byte(text), isOperation)
	if err != nil {
		t.Fatal(err)
	}
	return New(c)
}

func TestRatesHoldForPrincipalAndGroup(t *testing.T) {
	l := parse(t, `{"rates": {"cryptographic": 3, "CreateKey": 0.5, "*": 1}, "principals": {"bob": {"cryptographic": 1}, "eve": {"*": 0}}}`)
	now := time.Now()
	for _, c := range []struct {
		principal, operation string
		after                time.Duration
		allowed              int // of 5 calls
	}{
		{"ann", "Decrypt", 0, 3},
		{"ann", "GenerateDataKey", 0, 0}, // the same group
		{"ann", "Sign", time.Second, 3},
		{"bob", "Decrypt", time.Second, 1},
		{"ann", "CreateKey", time.Second, 1},
		{"ann", "CreateKey", 2 * time.Second, 0},
		{"ann", "CreateKey", 4 * time.Second, 1},
		{"ann", "ListKeys", 4 * time.Second, 1},
		{"ann", "CreateAlias", 4 * time.Second, 1}, // each on its own
		{"eve", "ListKeys", 4 * time.Second, 0},
		{"eve", "Decrypt", 4 * time.Second, 3},
	} {
		allowed := 0
		for range 5 {
			if l.Allow(c.principal, c.operation, now.Add(c.after)) {
				allowed++
			}
		}
		if allowed != c.allowed {
			t.Errorf("%+v: %d allowed", c, allowed)
		}
	}
}

func TestWithoutRatesNothingIsLimited(t *testing.T) {
	l := New(Config{})
	for range 1000 {
		if !l.Allow("ann", "CreateKey", time.Unix(0, 0)) {
			t.Fatal("limited")
		}
	}
	if len(l.buckets) != 0 {
		t.Error("counted")
	}
}

func TestManyPrincipalsTakeBoundedMemory(t *testing.T) {
	l := New(AWS())
	for i := range maxBuckets + 10 {
		l.Allow(string(rune(i)), "Decrypt", time.Unix(0, 0))
	}
	if len(l.buckets) > maxBuckets {
		t.Errorf("%d buckets", len(l.buckets))
	}
}

func TestAWrongConfigurationIsRefused(t *testing.T) {
	for _, text := range []string{``, `[]`, `{"rates": {"Decript": 1}}`, `{"rates": {"Decrypt": -1}}`, `{"rates": {"Decrypt": "1"}}`,
		`{"rate": {}}`, `{} x`, `{"principals": {"bob": {"x": 1}}}`, `{"rates": {"*": 1e300}}`} {
		if _, err := Parse([]byte(text), isOperation); err == nil {
			t.Errorf("%s: accepted", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"rates": {"*": 1.5}, "principals": {"bob": {"cryptographic": 0}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := Parse(text, isOperation); err == nil {
			New(c).Allow("bob", "Decrypt", time.Unix(0, 0))
		}
	})
}
