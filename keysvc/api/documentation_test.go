package api

import (
	"os"
	"strings"
	"testing"
)

func TestEveryOperationIsInTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/key-service.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range operations {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("%s is not in docs/key-service.md", name)
		}
	}
}
