package principals

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	return NewStore(filepath.Join(t.TempDir(), FileName))
}

func create(t *testing.T, s *Store, name string, admin bool) Principal {
	t.Helper()
	p, err := s.Create(t.Context(), name, admin)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantKind(t *testing.T, err error, kind Kind) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Errorf("%v, want kind %d", err, kind)
	}
}

func TestAPrincipalHasAnAccessKeyOfAWSsForm(t *testing.T) {
	s := newStore(t)
	p := create(t, s, "alice", true)
	if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(p.AccessKeyID) || !regexp.MustCompile(`^[A-Za-z0-9+/]{40}$`).MatchString(string(p.Secret)) {
		t.Errorf("%s, %q", p.AccessKeyID, string(p.Secret))
	}
	if got := p.ARN("111122223333"); got != "arn:aws:iam::111122223333:user/alice" {
		t.Error(got)
	}
	if q := create(t, s, "bob", false); q.AccessKeyID == p.AccessKeyID || q.Secret == p.Secret {
		t.Error("two principals have one key")
	}
}

func TestWhatOneStoreChangesTheNextFindOfAnotherSees(t *testing.T) {
	server := newStore(t)
	command := NewStore(server.path)
	if _, ok, err := server.Find("AKIA"); ok || err != nil {
		t.Fatal(ok, err)
	}
	for range 20 { // within one tick of the filesystem's clock
		p := create(t, command, "alice", true)
		got, ok, err := server.Find(p.AccessKeyID)
		if !ok || err != nil || got != p {
			t.Fatalf("%+v, %v, %v, want %+v", got, ok, err, p)
		}
		if err := command.Delete(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := server.Find(p.AccessKeyID); ok || err != nil {
			t.Fatal("a deleted principal is still known", err)
		}
	}
}

func TestNamesAreIAMsAndUnique(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"", "a/b", "a b", "ä", strings.Repeat("a", 65), "a\n"} {
		_, err := s.Create(t.Context(), name, false)
		wantKind(t, err, KindInvalid)
	}
	create(t, s, "bob", false)
	create(t, s, "a+=,.@_-1", false)
	_, err := s.Create(t.Context(), "bob", true)
	wantKind(t, err, KindExists)
	wantKind(t, s.Delete(t.Context(), "nobody"), KindMissing)
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Name != "a+=,.@_-1" || list[1].Name != "bob" || list[1].Admin {
		t.Errorf("%v, %v", list, err)
	}
}

func TestAFileThatOthersCanUseIsRefused(t *testing.T) {
	s := newStore(t)
	p := create(t, s, "alice", true)
	info, err := os.Stat(s.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	if _, ok, err := s.Find(p.AccessKeyID); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := os.Chmod(s.path, 0o640); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Find(p.AccessKeyID)
	wantKind(t, err, KindUnreadable)
	_, err = s.Create(t.Context(), "bob", false)
	wantKind(t, err, KindUnreadable)
}

func TestADamagedFileLetsNobodyIn(t *testing.T) {
	for name, text := range map[string]string{
		"empty":         ``,
		"version":       `{"version":2,"principals":[]}`,
		"member":        `{"version":1,"principals":[],"more":1}`,
		"behind":        `{"version":1,"principals":[]} x`,
		"no secret":     `{"version":1,"principals":[{"name":"a","accessKeyId":"A","secretAccessKey":"","created":"2026-01-01T00:00:00Z"}]}`,
		"one key twice": `{"version":1,"principals":[{"name":"a","accessKeyId":"A","secretAccessKey":"0123456789abcdef"},{"name":"b","accessKeyId":"A","secretAccessKey":"0123456789abcdef"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if err := os.WriteFile(s.path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err := s.Find("A")
			wantKind(t, err, KindDamaged)
			_, err = s.Create(t.Context(), "c", true)
			wantKind(t, err, KindDamaged)
		})
	}
}

func TestManyProcessesCanMakePrincipalsAtOnce(t *testing.T) {
	path := newStore(t).path
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := NewStore(path)
			for j := range 4 {
				if _, err := s.Create(t.Context(), fmt.Sprintf("p%d.%d", i, j), false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if list, err := NewStore(path).List(); err != nil || len(list) != 32 {
		t.Errorf("%d principals, %v", len(list), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"principals":[{"name":"a","admin":true,"accessKeyId":"A","secretAccessKey":"0123456789abcdef","created":"2026-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parse(text)
		if err != nil {
			return
		}
		first, err := format(list)
		if err != nil {
			t.Skip("a time that JSON can't say")
		}
		again, err := parse(first)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := format(again); err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s is read and written as %s, %v", first, second, err)
		}
	})
}
