package api

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
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

// The SDK's client is generated from AWS's model of the API: a newer SDK with new
// operations makes this fail.
func TestEveryOperationOfTheAPIIsAnswered(t *testing.T) {
	client := reflect.TypeFor[*kms.Client]()
	known := 0
	for i := range client.NumMethod() {
		m := client.Method(i)
		if m.Type.NumIn() != 4 || m.Type.In(2) == nil || !strings.HasSuffix(m.Type.In(2).String(), "."+m.Name+"Input") {
			continue // Options
		}
		known++
		if operations[m.Name] == nil {
			t.Errorf("%s is not answered", m.Name)
		}
	}
	if known != len(operations) || known < 56 {
		t.Errorf("the SDK has %d operations, the service %d", known, len(operations))
	}
}
