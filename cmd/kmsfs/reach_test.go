package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/embedded"
)

// reached collects which operations of the AWS KMS API the scripts' commands have called, from the
// audit trails that they leave behind.
type reached struct {
	mu         sync.Mutex // guards what follows
	scripts    int
	operations map[string]bool
	faults     []error
}

// note reads the trail of a script that has ended.
func (r *reached) note(env *testscript.Env) {
	names, err := recorded(embedded.AuditPath(filepath.Join(env.WorkDir, "state")))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scripts++
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.faults = append(r.faults, err)
	}
	for _, name := range names {
		if r.operations == nil {
			r.operations = map[string]bool{}
		}
		r.operations[name] = true
	}
}

// recorded lists the operations that callers have done. Those that no key is for count as they are.
func recorded(path string) ([]string, error) {
	trail, err := audit.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer trail.Close()
	var names []string
	for {
		record, err := trail.Next()
		switch {
		case errors.Is(err, io.EOF):
			return names, nil
		case err != nil:
			return names, err
		case record.ErrorCode == "", strings.HasSuffix(record.EventName, "capsulate") && record.ErrorCode == "InvalidKeyUsageException":
			names = append(names, record.EventName)
		}
	}
}

// check fails unless every operation of the API was reached. Without all scripts, whole, it says nothing.
func (r *reached) check(t *testing.T) {
	all, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range r.faults {
		t.Errorf("a script's audit trail: %v", fault)
	}
	if r.scripts < len(all) || t.Failed() {
		return
	}
	client := reflect.TypeFor[*kms.Client]()
	for i := range client.NumMethod() {
		m := client.Method(i)
		if m.Type.NumIn() == 4 && strings.HasSuffix(m.Type.In(2).String(), "."+m.Name+"Input") && !r.operations[m.Name] {
			t.Errorf("no script has a command that does %s", m.Name)
		}
	}
}
