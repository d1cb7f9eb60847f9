package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// tree makes a directory with files.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func written(t testing.TB, root string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Write(&b, root, time.Unix(1700000000, 0)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var sample = map[string]string{"config.json": "{}", "token/a b/ü.object": "\x00\x01", "token/empty": "", "z": string(make([]byte, 100_000))}

func TestExtractedFilesAreThoseThatWereWritten(t *testing.T) {
	into := t.TempDir()
	m, err := Extract(bytes.NewReader(written(t, tree(t, sample))), into)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range sample {
		got, err := os.ReadFile(filepath.Join(into, name))
		if err != nil || string(got) != content {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if info, err := os.Stat(filepath.Join(into, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(filepath.Join(into, "token")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if len(m.Files) != len(sample) || m.Size() != 100_004 || !m.Has("token") || !m.Has("z") || m.Has("tok") {
		t.Errorf("manifest %+v", m)
	}
	if !m.Created.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("created %v", m.Created)
	}
}

func TestSymbolicLinksAreLeftOut(t *testing.T) {
	root := tree(t, sample)
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if m, err := Extract(bytes.NewReader(written(t, root)), t.TempDir()); err != nil || m.Has("link") {
		t.Errorf("%+v, %v", m, err)
	}
}

// Wherever it is cut off and whichever byte that counts is changed, it is found out.
func TestDamageIsFound(t *testing.T) {
	whole := written(t, tree(t, map[string]string{"config.json": "{}", "pin": "secret"}))
	content := bytes.LastIndex(whole, []byte("secret")) + len("secret") // behind it there are only zeros, which nobody needs
	for cut := 0; cut < content; cut += 7 {
		if _, err := Extract(bytes.NewReader(whole[:cut]), t.TempDir()); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut off at %d: %v", cut, err)
		}
	}
	for _, part := range []string{"{}", "secret", "sha256", manifestName, "pin"} {
		at := bytes.LastIndex(whole, []byte(part))
		changed := bytes.Clone(whole)
		changed[at] ^= 1
		if _, err := Extract(bytes.NewReader(changed), t.TempDir()); err == nil {
			t.Errorf("a change in %q at %d goes unnoticed", part, at)
		}
	}
}

// entries is an archive of any entries.
func entries(t testing.TB, manifest string, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	all := append([]tar.Header{{Name: manifestName, Typeflag: tar.TypeReg, Size: int64(len(manifest))}}, headers...)
	for i := range all {
		if err := w.WriteHeader(&all[i]); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, err := w.Write([]byte(manifest)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestNothingIsWrittenOutsideOfTheDirectory(t *testing.T) {
	const none = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256 of nothing
	for _, name := range []string{"../evil", "/evil", "a/../../evil", "a/./b", "", ".", "a//b", `..\evil`} {
		parent := t.TempDir()
		into := filepath.Join(parent, "in")
		if err := os.Mkdir(into, 0o700); err != nil {
			t.Fatal(err)
		}
		manifest := `{"version":1,"files":[{"name":` + quoted(name) + `,"size":0,"sha256":"` + none + `"}]}`
		b := entries(t, manifest, tar.Header{Name: name, Typeflag: tar.TypeReg})
		if _, err := Extract(bytes.NewReader(b), into); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", name, err)
		}
		if left, _ := os.ReadDir(parent); len(left) != 1 {
			t.Errorf("%q left %v", name, left)
		}
	}
	link := entries(t, `{"version":1,"files":[{"name":"a","size":0,"sha256":"`+none+`"}]}`, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc"})
	if _, err := Extract(bytes.NewReader(link), t.TempDir()); !errors.Is(err, ErrDamaged) {
		t.Errorf("a link: %v", err)
	}
}

func quoted(s string) string {
	return `"` + string(bytes.ReplaceAll([]byte(s), []byte(`\`), []byte(`\\`))) + `"`
}

func TestOtherArchivesAreRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"no archive":      bytes.Repeat([]byte("x"), 4096),
		"later version":   entries(t, `{"version":2}`),
		"no JSON":         entries(t, `{`),
		"more than said":  entries(t, `{"version":1}`, tar.Header{Name: "a", Typeflag: tar.TypeReg}),
		"negative length": entries(t, `{"version":1,"files":[{"name":"a","size":-1}]}`),
	} {
		if m, err := Extract(bytes.NewReader(b), t.TempDir()); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(written(f, tree(f, map[string]string{"config.json": "{}", "token/x": "y"})))
	f.Add(entries(f, `{"version":1,"files":[{"name":"../a","size":0}]}`, tar.Header{Name: "../a", Typeflag: tar.TypeReg}))
	f.Fuzz(func(t *testing.T, b []byte) {
		parent := t.TempDir()
		into := filepath.Join(parent, "in")
		if err := os.Mkdir(into, 0o700); err != nil {
			t.Fatal(err)
		}
		m, err := Extract(bytes.NewReader(b), into)
		if (m == nil) == (err == nil) {
			t.Errorf("%v, %v", m, err)
		}
		if left, _ := os.ReadDir(parent); len(left) != 1 {
			t.Errorf("written outside: %v", left)
		}
	})
}
