package ledger

import (
	"errors"
	"fmt"
	"slices"
)

// fileState is what is known of a file.
type fileState struct {
	seq   uint64 // newest durable commit
	slots uint32 // newest durable slot table
}

// newer returns the later of each number.
func (f fileState) newer(o fileState) fileState {
	return fileState{max(f.seq, o.seq), max(f.slots, o.slots)}
}

// dirState is what is known of a directory.
type dirState struct {
	sum   Sum
	whole bool // every file and directory in it is known too
	flux  bool // it was about to change, and the sum may be old
}

// maxMounts and maxVolumes bound what is remembered of mounts and volume files.
const (
	maxMounts  = 4096
	maxVolumes = 64
)

// state is what the log says.
type state struct {
	files    map[ID]fileState
	dirs     map[ID]dirState
	fluxAll  bool
	doubted  bool     // any directory may have changed since it was recorded
	open     bool     // a mount began and did not end
	boot     ID       // of that mount
	mounts   []uint64 // oldest first
	pending  bool     // the last of mounts may not be on the store's record
	renames  uint64   // newest known entry of the rename log, 0 for none
	renameID ID       // its fingerprint
	volumes  []ID     // volume files, the newest last
}

func newState(files int) *state {
	return &state{files: make(map[ID]fileState, files), dirs: make(map[ID]dirState)}
}

var errForeign = errors.New("not a ledger of this volume")

// replay applies the frames of b. It returns how many bytes are whole frames.
func (s *state) replay(volume ID, b []byte) (valid int, err error) {
	for {
		records, n, ok := unframe(b[valid:])
		if !ok {
			return valid, nil
		}
		for len(records) > 0 {
			var r record
			if r, records, err = decode(records); err != nil {
				return valid, err
			}
			if (valid == 0) != (r.kind == recHeader) {
				return valid, errForeign
			}
			if r.kind == recHeader && (r.n&^doubtedBit != format || r.id != volume || len(records) > 0) {
				return valid, errForeign
			}
			s.apply(&r)
		}
		valid += n
	}
}

// apply takes over one record.
func (s *state) apply(r *record) {
	switch r.kind {
	case recHeader:
		s.doubted = r.n&doubtedBit != 0
	case recFile:
		s.files[r.id] = fileState{r.n, r.ver}
	case recFileGone:
		delete(s.files, r.id)
	case recDir:
		s.dirs[r.id] = dirState{sum: r.sum, whole: r.flag}
	case recDirGone:
		delete(s.dirs, r.id)
	case recFlux:
		if d, ok := s.dirs[r.id]; ok {
			d.flux = true
			s.dirs[r.id] = d
		}
	case recFluxAll:
		s.fluxAll = true
	case recSettled:
		s.fluxAll = false
	case recRenames:
		s.renames, s.renameID = r.n, r.id
	case recVolume:
		s.volumes = append(slices.DeleteFunc(s.volumes, func(v ID) bool { return v == r.id }), r.id)
		s.volumes = s.volumes[max(0, len(s.volumes)-maxVolumes):]
	default:
		s.applyMount(r)
	}
}

// applyMount takes over a record of a mount's beginning or end.
func (s *state) applyMount(r *record) {
	switch r.kind {
	case recStart:
		s.open, s.boot, s.pending = true, r.id, true
		s.lastMount(r.n)
	case recStarted:
		s.pending = false
		s.lastMount(r.n)
	case recEnd:
		s.open, s.fluxAll = false, false
	}
}

// lastMount puts a mount at the end of those that are known.
func (s *state) lastMount(n uint64) {
	s.mounts = append(slices.DeleteFunc(s.mounts, func(m uint64) bool { return m == n }), n)
	s.mounts = s.mounts[max(0, len(s.mounts)-maxMounts):]
}

// records encodes the whole state, for a new file.
func (s *state) records(volume ID) []record {
	out := []record{{kind: recHeader, n: format, id: volume}}
	for id, f := range s.files {
		out = append(out, record{kind: recFile, id: id, n: f.seq, ver: f.slots})
	}
	for id, d := range s.dirs {
		out = append(out, record{kind: recDir, id: id, sum: d.sum, flag: d.whole})
		if d.flux {
			out = append(out, record{kind: recFlux, id: id})
		}
	}
	if s.renames != 0 {
		out = append(out, record{kind: recRenames, n: s.renames, id: s.renameID})
	}
	for _, v := range s.volumes {
		out = append(out, record{kind: recVolume, id: v})
	}
	for i, m := range s.mounts {
		out = append(out, record{kind: recStart, n: m, id: s.boot})
		if i < len(s.mounts)-1 || !s.pending {
			out = append(out, record{kind: recStarted, n: m})
		}
	}
	if !s.open {
		out = append(out, record{kind: recEnd})
	}
	if s.fluxAll {
		out = append(out, record{kind: recFluxAll})
	}
	return out
}

// Violation says that the store is older than the ledger, or has what it should not have. It is not
// an accident of a crash.
type Violation struct {
	What            string // "directory", "file", "rename log", …
	Expected, Found string
}

// Error names what was expected and what was found.
func (v *Violation) Error() string {
	return fmt.Sprintf("%s is not what the ledger knows: expected %s, found %s", v.What, v.Expected, v.Found)
}
