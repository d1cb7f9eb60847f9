package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecondReaderAgreesOnAllVectors(t *testing.T) {
	paths, err := filepath.Glob("../../envelope/testdata/vectors/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 200 {
		t.Fatalf("only %d vectors found", len(paths))
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			if err := checkVectorFile(path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestVectorsWithAnotherExpectationFail(t *testing.T) {
	for file, edits := range map[string][2]string{
		"name-text":          {"report.txt", "report.txz"},
		"slots-two":          {"key-index=255", "key-index=254"},
		"recovery-key-file":  {"data-key: dd", "data-key: de"},
		"rename-log-five":    {`"was":"`, `"was":"/x`},
		"mounts-crashed":     {"unclean: 1 true", "unclean: 1 false"},
		"volume-file-sample": {"expect: ok", "expect: corrupt"},
		"root-page-tall":     {"end: 11", "end: 12"},
		"tag-page-sparse":    {"entry: 5 ", "entry: 6 "},
		"file-torn-root":     {"settled: false", "settled: true"},
		"root-page-chunk":    {"1 rest", "2 rest"},
		"chunk-page-one":     {"blocks: 6", "blocks: 7"},
		"file-crash-short":   {"*", "0"},
	} {
		b, err := os.ReadFile("../../envelope/testdata/vectors/" + file + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		edited := strings.Replace(string(b), edits[0], edits[1], 1)
		if edited == string(b) {
			t.Errorf("%s has no %q", file, edits[0])
		}
		path := filepath.Join(t.TempDir(), "vector.txt")
		if err := os.WriteFile(path, []byte(edited), 0o600); err != nil {
			t.Fatal(err)
		}
		if checkVectorFile(path) == nil {
			t.Errorf("%s is accepted with %q", file, edits[1])
		}
	}
}
