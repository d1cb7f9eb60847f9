package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// labReport is what kmsfs lab --json prints.
type labReport struct {
	OK     bool   `json:"ok"`
	Volume string `json:"volume"`
	KeyARN string `json:"keyArn"`
	Steps  []struct {
		Step     int    `json:"step"`
		EBS      string `json:"ebs"`
		Evidence []struct{ Command, Fact, Value string }
	} `json:"steps"`
	Audit []struct{ Event, Error, Path, Volume, KeyARN string } `json:"audit"`
}

// fact returns the values of a fact in the order of a step's evidence.
func (r *labReport) fact(step int, name string) []string {
	var values []string
	for _, e := range r.Steps[step-1].Evidence {
		if e.Fact == name {
			values = append(values, e.Value)
		}
	}
	return values
}

func TestLabShowsTheFourStepsWithEvidence(t *testing.T) {
	v, r := runLab(t)
	if !r.OK || len(r.Steps) != 4 {
		t.Fatalf("ok %v, %d steps", r.OK, len(r.Steps))
	}
	for _, c := range []struct {
		step int
		fact string
		want []string
	}{
		{1, "plaintext or name of the file in the store", []string{"none"}},
		{1, "KMS key", []string{r.KeyARN}},
		{2, "data keys held", []string{"1"}},
		{3, "state of the KMS key", []string{"Disabled"}},
		{3, "data keys held", []string{"1"}},
		{4, "data keys held", []string{"0"}},
	} {
		if got := r.fact(c.step, c.fact); strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("step %d, %s: %q, want %q", c.step, c.fact, got, c.want)
		}
	}
	for _, step := range []int{2, 3} {
		wantText(t, strings.Join(r.fact(step, "read through the open file"), ""), "as written")
		wantText(t, strings.Join(r.fact(step, "write and fsync through the open file"), ""), "new ciphertext")
	}
	answers := r.fact(4, "answer")
	if len(answers) != 2 || !strings.Contains(answers[0], "Key has been revoked") || strings.Contains(answers[1], "revoked") {
		t.Errorf("answers of the two opens: %q", answers)
	}
	if left, _ := filepath.Glob(filepath.Join(v, "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestLabAuditTrailIsJustThisScenario(t *testing.T) {
	_, r := runLab(t)
	var disabled, denied, enabled, again int
	for i, a := range r.Audit {
		if a.KeyARN != r.KeyARN {
			t.Errorf("record %d is of key %s", i, a.KeyARN)
		}
		switch {
		case a.Event == "DisableKey":
			disabled = i
		case a.Event == "Decrypt" && a.Error == "DisabledException" && a.Path == "/secret.txt" && a.Volume == r.Volume:
			denied = i
		case a.Event == "EnableKey":
			enabled = i
		case a.Event == "Decrypt" && a.Error == "":
			again = i
		}
	}
	if disabled == 0 || denied < disabled || enabled < denied || again < enabled {
		t.Errorf("order of disable %d, failed decrypt %d, enable %d, decrypt %d: %+v", disabled, denied, enabled, again, r.Audit)
	}
}

// runLab runs the lab with a temporary directory of the test's, which it returns.
func runLab(t *testing.T) (string, labReport) {
	t.Helper()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	v := &volume{t: t, State: filepath.Join(t.TempDir(), "not used")}
	var r labReport
	must(t, json.Unmarshal([]byte(v.kmsfs("lab", "key-disable", "--json")), &r))
	if _, err := os.Stat(v.State); err == nil {
		t.Error("the lab made a key service in the caller's state directory")
	}
	return tmp, r
}
