package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func testUI() (*ui, *bytes.Buffer, *bytes.Buffer) {
	var out, errOut bytes.Buffer
	return &ui{in: os.Stdin, out: &out, err: &errOut}, &out, &errOut
}

func TestErrorIsOneLineAndThenHints(t *testing.T) {
	u, out, errOut := testUI()
	u.Fail(&appError{msg: "cannot\nread \x1b[31mit", code: 1, hints: []string{"try\nthis", "or that"}})
	want := "kmsfs: cannot; read ?[31mit\nhint: try; this\nhint: or that\n"
	if errOut.String() != want || out.Len() != 0 {
		t.Errorf("stderr %q, stdout %q", errOut, out)
	}
}

func TestSilentErrorPrintsNothing(t *testing.T) {
	u, out, errOut := testUI()
	u.Fail(errors.Join(&silentError{4}))
	if errOut.Len()+out.Len() != 0 {
		t.Errorf("printed %q %q", errOut, out)
	}
}

func TestJSONLeavesOutWhatDoesNotApply(t *testing.T) {
	u, out, _ := testUI()
	err := u.JSON(&kms.DescribeKeyOutput{KeyMetadata: &types.KeyMetadata{
		KeyId: aws.String("1234"), Description: aws.String(""), KeyState: types.KeyStateEnabled,
		CreationDate: aws.Time(time.Unix(1, 0).UTC()),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"KeyId": "1234"`, `"Description": ""`, `"Enabled": false`, `"CreationDate": "1970-01-01T00:00:01Z"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	for _, bad := range []string{"null", "ResultMetadata", "ExpirationModel", "DeletionDate"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%s in %s", bad, out)
		}
	}
}

func TestSecretLineEndsAtTheNewlineAndIsBounded(t *testing.T) {
	r := strings.NewReader("one\ntwo")
	for _, want := range []string{"one", "two"} {
		if got, err := readSecretLine(r); err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if _, err := readSecretLine(r); err == nil {
		t.Error("a PIN out of nothing")
	}
	if _, err := readSecretLine(strings.NewReader(strings.Repeat("x", 2000))); err == nil {
		t.Error("a PIN without end")
	}
}

func TestColumnsPadButNeverTrail(t *testing.T) {
	u, out, _ := testUI()
	u.Columns(column{"a", 3}, column{"b\n", 0})
	if out.String() != "a    b\n\n" && out.String() != "a    b\n" {
		t.Errorf("%q", out)
	}
}
