package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLocationIsInAVolumeOnlyWhereOneIs(t *testing.T) {
	dir := t.TempDir()
	odd := filepath.Join(dir, "a:", "b")
	if err := os.MkdirAll(odd, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, vault := range []string{dir, odd} {
		if err := os.WriteFile(filepath.Join(vault, "kmsfs.volume"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for arg, want := range map[string]location{
		dir + ":/x":     {dir, "/x"},
		dir + ":/":      {dir, "/"},
		dir + ":/x:/y":  {dir, "/x:/y"},
		odd + ":/x":     {odd, "/x"},
		odd:             {"", odd}, // it has a ":/" too, but no volume before it
		"file":          {"", "file"},
		"-":             {"", "-"},
		"dir/name:with": {"", "dir/name:with"},
	} {
		if got, err := parseLocation(arg); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", arg, got, err, want)
		}
	}
	if _, err := parseLocation(filepath.Join(dir, "none") + ":/x"); exitCode(err) != exitNotFound || len(hints(err)) == 0 {
		t.Errorf("no volume: %v", err)
	}
}

func FuzzSplitLocationLosesNothing(f *testing.F) {
	for _, arg := range []string{"vault:/a", ":/", "a:/b:/c", "a:", "", "::/://", "a:b/c"} {
		f.Add(arg)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		ways := splitLocation(arg)
		for _, l := range ways {
			if l.String() != arg || l.backing == "" || !strings.HasPrefix(l.path, "/") {
				t.Errorf("%q: %+v", arg, l)
			}
		}
		if !slices.IsSortedFunc(ways, func(a, b location) int { return len(a.backing) - len(b.backing) }) {
			t.Errorf("%q: %+v is not sorted", arg, ways)
		}
		if inner := strings.TrimPrefix(arg, ":/"); len(ways) < strings.Count(inner, ":/") {
			t.Errorf("%q: only %d ways", arg, len(ways))
		}
	})
}
