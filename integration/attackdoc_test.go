package integration

import (
	"os"
	"regexp"
	"testing"
)

// The table of attacks in the threat model and the suite are the same list.
func TestThreatModelNamesEveryAttackAndNoOther(t *testing.T) {
	text, err := os.ReadFile("../docs/threat-model.md")
	must(t, err)
	rows := attacks()
	claimed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| [^|]+ \\| [^|]+ \\| (L0|L1|L0, L1|–) \\|$").FindAllStringSubmatch(string(text), -1) {
		if claimed[m[1]] {
			t.Errorf("%s stands twice in docs/threat-model.md", m[1])
		}
		claimed[m[1]] = true
		if len(rows[m[1]]) == 0 {
			t.Errorf("docs/threat-model.md claims %s, which is not a subtest of TestAttack", m[1])
		}
	}
	for row := range rows {
		if !claimed[row] {
			t.Errorf("TestAttack/%s is not in the table of docs/threat-model.md", row)
		}
	}
	if len(claimed) < 30 {
		t.Errorf("only %d rows were found", len(claimed))
	}
}
