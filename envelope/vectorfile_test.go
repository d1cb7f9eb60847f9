package envelope

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

const vectorDir = "testdata/vectors"

// vector is one file of testdata/vectors; its README says what the members mean.
type vector struct {
	t      *testing.T
	fields map[string][]string
	body   []byte
}

// readVector reads "key: value" lines, an empty line, and a body in hex.
func readVector(t *testing.T, path string) *vector {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(b), "\n\n")
	v := &vector{t: t, fields: map[string][]string{}}
	for sc := bufio.NewScanner(strings.NewReader(head)); sc.Scan(); {
		key, value, ok := strings.Cut(sc.Text(), ": ")
		if !ok {
			t.Fatalf("%s: line %q", path, sc.Text())
		}
		v.fields[key] = append(v.fields[key], value)
	}
	if v.body, err = decodeBody(body); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

// decodeBody decodes lines of hex; *n stands for n bytes of zeros.
func decodeBody(s string) ([]byte, error) {
	var body []byte
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if count, ok := strings.CutPrefix(line, "*"); ok {
			n, err := strconv.Atoi(count)
			if err != nil {
				return nil, err
			}
			body = append(body, make([]byte, n)...)
			continue
		}
		b, err := hex.DecodeString(line)
		if err != nil {
			return nil, err
		}
		body = append(body, b...)
	}
	return body, nil
}

// encodeBody is the inverse of decodeBody.
func encodeBody(body []byte) string {
	const width = 32
	var out strings.Builder
	for len(body) > 0 {
		zeros := 0
		for zeros < len(body) && body[zeros] == 0 {
			zeros++
		}
		if zeros >= 2*width {
			fmt.Fprintf(&out, "*%d\n", zeros)
			body = body[zeros:]
			continue
		}
		n := min(width, len(body))
		fmt.Fprintf(&out, "%x\n", body[:n])
		body = body[n:]
	}
	return out.String()
}

// get returns the one value of a key.
func (v *vector) get(key string) string {
	v.t.Helper()
	if len(v.fields[key]) != 1 {
		v.t.Fatalf("%d values of %q", len(v.fields[key]), key)
	}
	return v.fields[key][0]
}

func (v *vector) bytes(key string) []byte {
	v.t.Helper()
	b, err := hex.DecodeString(v.get(key))
	if err != nil {
		v.t.Fatalf("%s: %v", key, err)
	}
	return b
}

func (v *vector) id(key string) (id [16]byte) {
	v.t.Helper()
	b := v.bytes(key)
	if len(b) != len(id) {
		v.t.Fatalf("%s has %d bytes", key, len(b))
	}
	copy(id[:], b)
	return id
}

func (v *vector) number(key string) uint64 {
	v.t.Helper()
	n, err := strconv.ParseUint(v.get(key), 10, 64)
	if err != nil {
		v.t.Fatalf("%s: %v", key, err)
	}
	return n
}

// text returns a value that is written as a JSON string.
func (v *vector) text(key string) string {
	v.t.Helper()
	s, err := unquote(v.get(key))
	if err != nil {
		v.t.Fatalf("%s: %v", key, err)
	}
	return s
}

func unquote(s string) (out string, err error) { return out, json.Unmarshal([]byte(s), &out) }

// key returns the volume key.
func (v *vector) key() *VolumeKey {
	v.t.Helper()
	k, err := NewVolumeKey(v.bytes("volume-key"))
	wantKind(v.t, err, 0)
	return k
}

// volume returns the volume that the vector belongs to.
func (v *vector) volume() *Volume {
	v.t.Helper()
	id, err := ParseVolumeID(v.get("volume-id"))
	wantKind(v.t, err, 0)
	vol, err := NewVolume(id, v.key())
	wantKind(v.t, err, 0)
	v.t.Cleanup(vol.Wipe)
	return vol
}

// expect checks err against the vector and reports whether it is to succeed.
func (v *vector) expect(err error) bool {
	v.t.Helper()
	want := v.get("expect")
	got := "ok"
	if err != nil {
		got = KindOf(err).String()
	}
	if got != want {
		v.t.Errorf("%s (%v), want %s", got, err, want)
	}
	return got == "ok" && want == "ok"
}

// same fails the test unless got is what key says.
func (v *vector) same(key string, got any) {
	v.t.Helper()
	if s := fmt.Sprint(got); s != v.get(key) {
		v.t.Errorf("%s is %s, want %s", key, s, v.get(key))
	}
}

// jsonOf encodes x as vectors write strings, lists and maps.
func jsonOf(x any) string {
	b, err := json.Marshal(x)
	if err != nil {
		panic(err)
	}
	return string(b)
}
