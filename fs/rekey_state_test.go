package fs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// wantOneFile checks that the two names of the sample's file are of one file.
func (s *testStore) wantOneFile() {
	s.t.Helper()
	v := s.open(true)
	defer s.close(v)
	a, errA := v.Stat("/d/new/file")
	b, errB := v.Stat("/d/link")
	if errA != nil || errB != nil || a.Ino != b.Ino || a.Links != 2 {
		s.t.Errorf("%+v and %+v, %v, %v", a, b, errA, errB)
	}
}

func TestRepairLeavesTheStateOfAnUnfinishedRekey(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	s.halfway("/d/link")
	res, faults, _ := s.repair()
	if got := names(faults); !slices.Contains(got, "rekey-unfinished (store)") || res.Orphans != 1 || res.Damaged != 0 {
		t.Errorf("%q, %+v", got, res)
	}
	s.rekey()
	s.wantOneFile()
}

func TestRepairLeavesTheRemainsOfAFile(t *testing.T) {
	s := newTestStore(t, nil)
	remains := filepath.Join(s.dir, lostPrefix+"1")
	ok(t, os.WriteFile(remains, []byte("x"), 0o600))
	res, faults, _ := s.repair()
	if got := names(faults); !slices.Equal(got, []string{"remains (store)"}) || res.Orphans != 1 || res.Repaired != 0 {
		t.Errorf("%q, %+v", got, res)
	}
	_, err := os.Stat(remains)
	ok(t, err)
}

func TestRekeyOfOtherPathsWaitsForOneThatWasKilled(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	s.halfway("/d/link")
	o := s.open(false)
	_, err := o.Rekey(t.Context(), RekeyOptions{Paths: []string{"/d/new"}})
	if e := new(Error); !errors.As(err, &e) || e.Kind != KindLocked || e.Hint() == "" {
		t.Errorf("%v, want KindLocked with a hint", err)
	}
	s.close(o)
	if res := s.rekey("/"); res.Rekeyed != 2 { // the same as no path
		t.Errorf("%+v", res)
	}
	s.wantOneFile()
}

func TestRekeyThatCameToItsEndKeepsNoOtherBack(t *testing.T) {
	s := newTestStore(t, nil)
	s.sample()
	o := s.open(false)
	put(t, o, "/whole", "content")
	put(t, o, "/damaged", "content")
	store := filepath.Join(s.dir, walkAll(t, o)["/damaged"].Store)
	s.close(o)
	ok(t, os.Truncate(store, 4096))
	flip(t, store, 100)
	o = s.open(false)
	if res, err := o.Rekey(t.Context(), RekeyOptions{}); err != nil || res.Failed != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	s.close(o)
	if res := s.rekey("/whole"); res.Rekeyed != 1 || res.Skipped != 0 {
		t.Errorf("%+v", res)
	}
}
