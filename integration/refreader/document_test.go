package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDocumentNamesEverySubkey(t *testing.T) {
	document := readText(t, "../../docs/FORMAT.md")
	_, keys, _ := strings.Cut(document, "\n## 3. Keys\n")
	keys, _, _ = strings.Cut(keys, "\n## 4.")
	source := readText(t, "../../envelope/kdf.go")
	purposes := regexp.MustCompile(`purpose\s*=\s*"([a-z-]+)"`).FindAllStringSubmatch(source, -1)
	if len(purposes) < 15 {
		t.Fatalf("only %d purposes found in kdf.go", len(purposes))
	}
	for _, p := range purposes {
		if !strings.Contains(keys, "`"+p[1]+"`") {
			t.Errorf("section 3 does not name the subkey %q", p[1])
		}
	}
}

func TestDocumentsExamplesAreVectors(t *testing.T) {
	_, example, ok := strings.Cut(readText(t, "../../docs/FORMAT.md"), "\n## 17. Worked example\n")
	if !ok {
		t.Fatal("no worked example")
	}
	for _, part := range strings.Split(example, "\n### ")[1:] {
		name := regexp.MustCompile("`([a-z0-9-]+\\.txt)`").FindStringSubmatch(part)
		if name == nil {
			t.Fatalf("no vector named in %q", strings.SplitN(part, "\n", 2)[0])
		}
		vector := strings.ReplaceAll(readText(t, "../../envelope/testdata/vectors/"+name[1]), "\n", "")
		found := 0
		for _, digits := range regexp.MustCompile(`(?m)^    ([0-9a-f]{8,})`).FindAllStringSubmatch(part, -1) {
			found++
			if !strings.Contains(vector, digits[1]) && !strings.Contains(plaintextBody, digits[1]) {
				t.Errorf("%s does not hold %s", name[1], digits[1])
			}
		}
		if found == 0 && !strings.Contains(part, "zC7Uw9L5ogk7gM0-IDpSOs3t0MqzQjlZ2tg") {
			t.Errorf("no bytes of %s in the document", name[1])
		}
	}
}

// plaintextBody is what the example shows decrypted: size, end, epoch, inode flags, content.
const plaintextBody = "0d00000000000000 0000000000000000 0200000000000000 68656c6c6f2c20776f726c640a"
