package integration

import "testing"

// attacks are the rows of docs/threat-model.md: what the store's owner may do, by name. Each performs
// it on a real backing directory and tells what the mount then answers.
var attacks = []struct {
	row string
	run func(t *testing.T)
}{
	{"dup-file/vacated-path", attackVacatedPath},
	{"dup-file/known-inode", attackNameOfKnownInode},
	{"dup-file/seen-first", attackNameSeenFirst},
}

func TestAttack(t *testing.T) {
	for _, a := range attacks {
		t.Run(a.row, a.run)
	}
}
