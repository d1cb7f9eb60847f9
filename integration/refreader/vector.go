package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// vector is one test vector.
type vector struct {
	fields map[string][]string
	body   []byte
}

// checks says how to read each format and compare the result.
var checks = map[string]func(t *vector, v *volume) error{
	"name": func(t *vector, v *volume) error {
		s, err := v.name(t.hex("directory"), t.text("encrypted"))
		return t.compare(err, "name", quoted(s))
	},
	"long-name": func(t *vector, _ *volume) error {
		return t.compare(nil, "store-name", longName(t.text("encrypted")))
	},
	"directory": func(t *vector, v *volume) error {
		id, err := v.directory(t.hex("parent"), t.text("name"), t.text("target"))
		return t.compare(err, "id", hex.EncodeToString(id))
	},
	"symlink": func(t *vector, v *volume) error {
		s, err := v.symlink(t.hex("parent"), t.text("name"), t.text("sealed"))
		return t.compare(err, "target", quoted(s))
	},
	"xattr-name": func(t *vector, v *volume) error {
		s, err := v.xattrName(t.text("encrypted"))
		return t.compare(err, "name", quoted(s))
	},
	"xattr": func(t *vector, v *volume) error {
		b, err := v.xattr(t.hex("object"), t.text("name"), t.body)
		return t.compare(err, "value", hex.EncodeToString(b))
	},
	"stat-record": func(t *vector, v *volume) error {
		n, err := v.statRecord(t.hex("file-id"), t.number("sequence"), t.body)
		return t.compare(err, "size", n)
	},
	"stat-hint": func(t *vector, v *volume) error {
		n, err := v.hint(t.body)
		return t.compare(err, "size", n)
	},
	"path-tag": func(t *vector, v *volume) error {
		return t.compare(nil, "tag", hex.EncodeToString(mac(v.subkey("path-tag"), []byte(t.text("path")))[:16]))
	},
	"file-context": func(t *vector, _ *volume) error {
		id := t.get("volume-id")
		return t.compare(nil, "volume-context", quoted(map[string]string{"kmsfs:volume-id": id}),
			"file-context", quoted(map[string]string{"kmsfs:volume-id": id, "kmsfs:path": t.text("path")}))
	},
	"recovery-key": checkRecoveryKey,
	"slots": func(t *vector, v *volume) error {
		version, lines, err := v.slots(t.hex("file-id"), t.body)
		return t.compare(err, "version", version, "slot", strings.Join(lines, "\n"))
	},
	"volume-file": checkVolumeFile,
	"rename-log":  checkRenameLog,
	"mounts":      checkMounts,
	"root-page":   checkRootPage,
	"tag-page":    checkTagPage,
	"data-block":  checkBlock,
	"chunk-page":  checkChunkPage,
	"file":        checkFile,
}

// checkVectorFile reads one vector and compares.
func checkVectorFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	t := &vector{fields: map[string][]string{}}
	head, body, _ := strings.Cut(string(b), "\n\n")
	for _, line := range strings.Split(strings.TrimSpace(head), "\n") {
		key, value, _ := strings.Cut(line, ": ")
		t.fields[key] = append(t.fields[key], value)
	}
	if t.body, err = decodeBody(body); err != nil {
		return err
	}
	check := checks[t.get("format")]
	if check == nil {
		return fmt.Errorf("unknown format %q", t.get("format"))
	}
	v := &volume{key: t.hex("volume-key")}
	if v.id, err = hex.DecodeString(strings.TrimPrefix(t.get("volume-id"), "vol-")); err != nil {
		return err
	}
	return check(t, v)
}

// decodeBody decodes lines of hex; *n stands for n zero bytes.
func decodeBody(s string) ([]byte, error) {
	var body []byte
	for _, line := range strings.Fields(s) {
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

// get returns the values of a key, one per line.
func (t *vector) get(key string) string { return strings.Join(t.fields[key], "\n") }

// hex returns a value in bytes; a value that is none has length 0.
func (t *vector) hex(key string) []byte {
	b, _ := hex.DecodeString(t.get(key))
	return b
}

// text returns a JSON string.
func (t *vector) text(key string) (s string) {
	_ = json.Unmarshal([]byte(t.get(key)), &s)
	return s
}

func (t *vector) number(key string) (n uint64) {
	_ = json.Unmarshal([]byte(t.get(key)), &n)
	return n
}

// quoted is JSON as vectors write it.
func quoted(x any) string {
	var b bytes.Buffer
	_ = json.NewEncoder(&b).Encode(x)
	return strings.TrimSpace(b.String())
}

// compare compares the outcome with what the vector expects, and when that is success also the
// results, given as pairs of key and value.
func (t *vector) compare(err error, pairs ...any) error {
	got := "ok"
	if err != nil {
		got = err.Error()
	}
	if want := t.get("expect"); got != want {
		return fmt.Errorf("outcome is %s, want %s", got, want)
	}
	for i := 0; i < len(pairs) && err == nil; i += 2 {
		key, value := pairs[i].(string), fmt.Sprint(pairs[i+1])
		if want := t.get(key); value != want {
			return fmt.Errorf("%s is %s, want %s", key, value, want)
		}
	}
	return nil
}

func checkVolumeFile(t *vector, v *volume) error {
	f, err := readVolumeFile(t.body, v.key)
	if err != nil {
		return t.compare(err)
	}
	recipient := ""
	if f.Recovery != nil {
		recipient = quoted(f.Recovery.Recipient)
	}
	return t.compare(nil, "volume-id", f.ID, "keys", quoted(f.Keys), "wrapped-by", f.WrappedBy,
		"plaintext-names", f.Options.PlaintextNames, "compress", f.Options.Compress, "recipient", recipient)
}

func checkRenameLog(t *vector, v *volume) error {
	l, err := v.renames(t.body)
	if err != nil {
		return t.compare(err)
	}
	var lines []string
	for i := range l.entries {
		lines = append(lines, l.entries[i].line())
	}
	for _, line := range t.fields["path-at"] {
		var q struct {
			Path, Was string
			Sequence  uint64
		}
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			return err
		}
		if was := l.pathAt(q.Path, q.Sequence); was != q.Was {
			return fmt.Errorf("%s was %s, want %s", q.Path, was, q.Was)
		}
	}
	return t.compare(nil, "valid-length", l.valid, "base", l.base, "sequence", l.sequence(), "entry", strings.Join(lines, "\n"))
}

func checkMounts(t *vector, v *volume) error {
	m, err := v.mounts(t.body)
	if err != nil {
		return t.compare(err)
	}
	for _, line := range t.fields["unclean"] {
		var id uint64
		var want bool
		if _, err := fmt.Sscanf(line, "%d %t", &id, &want); err != nil {
			return err
		}
		if m.isUnclean(id) != want {
			return fmt.Errorf("mount %d: unclean is %v", id, !want)
		}
	}
	current, last := m.current, m.current
	if m.ended {
		current = 0
	}
	if t.fields["last"] == nil {
		return t.compare(nil, "current", current)
	}
	return t.compare(nil, "current", current, "last", last)
}
