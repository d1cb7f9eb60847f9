package embedded

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

func TestClustersAreCheckedWhenTheyAreRead(t *testing.T) {
	for text, want := range map[string]string{
		`{"cluster-abcdefghijk": {"uri": "pkcs11:token=x"}}`: "",
		`{}`: "",
		`{"cluster-x": {"uri": "pkcs11:token=x"}}`:                             "cluster- and 11 to 16",
		`{"cluster-abcdefghijk": {"uri": "token=x"}}`:                          "does not start with",
		`{"cluster-abcdefghijk": {"uri": "pkcs11:token=x?pin-value=1234"}}`:    "has a PIN",
		`{"cluster-abcdefghijk": {"uri": "pkcs11:token=x", "pin": "1234567"}}`: "unknown field",
		`[]`: "cannot unmarshal",
	} {
		_, err := ParseClusters([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "1234") {
			t.Errorf("the error has the PIN: %v", err)
		}
	}
}

func FuzzParseClusters(f *testing.F) {
	f.Add([]byte(`{"cluster-abcdefghijk": {"uri": "pkcs11:token=x", "module": "/m", "initArgs": "a"}}`))
	f.Add([]byte(`{"x": null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := ParseClusters(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := ParseClusters(again); err != nil || !maps.Equal(all, same) {
			t.Errorf("%v is written as %s and read as %v, %v", all, again, same, err)
		}
	})
}
