package pkcs11

import (
	"crypto"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/hsmtest"
)

const document = "../../docs/key-service.md"

// Marks around the table in the document.
const tableBegins, tableEnds = "<!-- capabilities: begin -->\n", "<!-- capabilities: end -->\n"

// inProcess lists the hashes of RSAES-OAEP that are bridged in the process.
var inProcess = map[string][]crypto.Hash{"SoftHSM": {crypto.SHA256}}

// TestCapabilityTableIsInTheDocumentation renders what the conformance tests prove of
// the modules. With UPDATE_DOCS=1 it writes the table.
func TestCapabilityTableIsInTheDocumentation(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegins)
	old, after, ok2 := strings.Cut(rest, tableEnds)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks of the table", document)
	}
	want := capabilityTable()
	if old == want {
		return
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(document, []byte(before+tableBegins+want+tableEnds+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the table in %s differs from what the modules do (UPDATE_DOCS=1 go test -run CapabilityTable ./hsm/pkcs11):\n%s", document, want)
}

func capabilityTable() string {
	var b strings.Builder
	b.WriteString("| what | SoftHSM | NSS |\n|---|---|---|\n")
	for _, f := range hsmtest.Features() {
		if !f.Slow() {
			row(&b, strings.Replace(f.String(), " RSA-2048", "", 1), func(module string) string { return doing(module, f) })
		}
	}
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		row(&b, "import by RSAES-OAEP "+h.String(), func(module string) string { return bridged(module, h) })
	}
	for _, typ := range []hsm.KeyType{hsm.RSA2048, hsm.P256, hsm.Secp256k1, hsm.Ed25519} {
		row(&b, "import of private keys "+strings.TrimSuffix(string(typ), "-2048"), func(module string) string {
			return yesNo(slices.Contains(imports[module], typ))
		})
	}
	return b.String()
}

func row(b *strings.Builder, what string, cell func(module string) string) {
	fmt.Fprintf(b, "| %s | %s | %s |\n", what, cell("SoftHSM"), cell("NSS"))
}

func doing(module string, f hsmtest.Feature) string {
	isOAEP := f.Hash != 0 && f.Scheme == ""
	if isOAEP {
		return bridged(module, f.Hash)
	}
	return yesNo(!slices.Contains(cannot[module], f))
}

func bridged(module string, h crypto.Hash) string {
	if slices.Contains(inProcess[module], h) {
		return "through the process"
	}
	return "yes"
}

func yesNo(can bool) string {
	if can {
		return "yes"
	}
	return "no"
}
