package main

import (
	"path/filepath"
	"testing"
)

func TestSecondReaderAgreesOnAllVectors(t *testing.T) {
	paths, err := filepath.Glob("../../envelope/testdata/vectors/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 130 {
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
