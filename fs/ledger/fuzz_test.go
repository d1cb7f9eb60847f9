package ledger

import (
	"bytes"
	"testing"
)

// FuzzReplay reads any file: no panic, and what is accepted is written out as something that reads as
// the same state.
func FuzzReplay(f *testing.F) {
	s := newState(0)
	for _, r := range []record{{kind: recFile, id: id(1), n: 7, ver: 2}, {kind: recDir, id: id(2), sum: sumOf(1, 2), flag: true},
		{kind: recFlux, id: id(2)}, {kind: recFluxAll}, {kind: recSettled}, {kind: recStart, n: 5, id: id(9)}, {kind: recStarted, n: 5},
		{kind: recRenames, n: 3, id: id(3)}, {kind: recVolume, id: id(4)}, {kind: recFile, id: id(5), n: 1, ver: 1},
		{kind: recFileGone, id: id(5)}, {kind: recDir, id: id(6)}, {kind: recDirGone, id: id(6)}} {
		s.apply(&r)
	}
	whole := encode(s)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte{})
	f.Add(frame(header(id(1), false)))
	f.Add(append(frame(header(id(1), false)), frame([]byte{recEnd})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newState(0)
		valid, err := s.replay(id(1), b)
		if valid > len(b) || err != nil {
			return
		}
		again := newState(0)
		if _, err := again.replay(id(1), encode(s)); err != nil {
			t.Fatal(err)
		}
		if !sameState(s, again) {
			t.Errorf("%+v\nis read back as\n%+v", s, again)
		}
	})
}

// encode is the file of a state.
func encode(s *state) []byte {
	var b []byte
	for _, r := range s.records(id(1))[1:] {
		b = r.append(b)
	}
	out := frame(header(id(1), false))
	for len(b) > 0 {
		var part []byte
		part, b = split(b)
		out = append(out, frame(part)...)
	}
	return out
}

func sameState(a, b *state) bool {
	if len(a.files) != len(b.files) || len(a.dirs) != len(b.dirs) || len(a.mounts) != len(b.mounts) || len(a.volumes) != len(b.volumes) {
		return false
	}
	for id, f := range a.files {
		if b.files[id] != f {
			return false
		}
	}
	for id, d := range a.dirs {
		if b.dirs[id] != d {
			return false
		}
	}
	return a.fluxAll == b.fluxAll && a.renames == b.renames && a.renameID == b.renameID &&
		(len(a.mounts) == 0 || a.open == b.open && a.boot == b.boot && a.pending == b.pending)
}

func TestTornEndOfTheLedgerIsDropped(t *testing.T) {
	d := newDesk(t)
	l := d.mount()
	d.use(l, id(1), sumOf(1))
	d.unmount(l)
	s := newState(0)
	whole := encode(s)
	for cut := range whole {
		s := newState(0)
		valid, err := s.replay(id(1), whole[:cut])
		if err != nil || valid > cut || !bytes.Equal(whole[:valid], whole[:valid]) {
			t.Errorf("cut at %d: %d, %v", cut, valid, err)
		}
	}
}
