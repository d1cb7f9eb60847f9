package fs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRekeyDoesNotLaunderAFileThatWasRolledBack(t *testing.T) {
	s := newTestStore(t, nil)
	s.ledgers = t.TempDir()
	o := s.open(false)
	put(t, o, "/f", "content 1")
	put(t, o, "/other", "other")
	store := filepath.Join(s.dir, walkAll(t, o)["/f"].Store)
	s.close(o)
	s.overwrite("/f", "content 2")
	old := store + ".old"
	kept, err := os.ReadFile(store)
	ok(t, err, os.WriteFile(old, nil, 0o600))
	copyXattrs(t, store, old, "user.")
	s.overwrite("/f", "content 3")
	ok(t, os.WriteFile(store, kept, 0o600))
	copyXattrs(t, old, store, "user.")
	ok(t, os.Remove(old))

	r := s.open(true)
	if _, err := r.Open("/f"); kindOf(err) != KindRolledBack {
		t.Fatalf("before the rekey: %v, want KindRolledBack", err)
	}
	s.close(r)
	o = s.open(false)
	failed := map[string]error{}
	res, err := o.Rekey(t.Context(), RekeyOptions{Failed: func(path string, err error) { failed[path] = err }})
	if err != nil || res.Rekeyed != 1 || res.Failed != 1 || kindOf(failed["/f"]) != KindRolledBack {
		t.Errorf("%+v, %v, failed %v", res, err, failed)
	}
	s.close(o)
	r = s.open(true)
	if f, err := r.Open("/f"); kindOf(err) != KindRolledBack {
		b := make([]byte, 9)
		if err == nil {
			f.ReadAt(b, 0)
		}
		t.Errorf("after the rekey: %q, %v, want KindRolledBack", b, err)
	}
}
