package fs

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/envelope"
)

// rekeyRuns names the file in the root that tells the runs that did not finish. If it is lost everything is
// done anew, but a file that was killed between two of its names stays two files.
const rekeyRuns = tempPrefix + "rekey"

// rekeyState is the content of rekeyRuns, sealed as an attribute of the root.
type rekeyState struct {
	Paths []string `json:"paths"`
	Runs  []uint64 `json:"runs"`
	Ended bool     `json:"ended,omitempty"` // the last run came to its end, and only failed for some files: no file is in halves
}

// isRekeyState reports whether o is rekeyRuns.
func isRekeyState(o *Object) bool {
	return o.storeName() == rekeyRuns && o.dir.store == "" && o.Kind() == unix.S_IFREG
}

// begin reads which runs for these paths were killed, removes what they left half done, and adds this one.
func (r *rekey) begin(ctx context.Context) error {
	old, err := r.s.vol.readRekeyState()
	if err != nil {
		return err
	}
	switch {
	case old == nil:
	case slices.Equal(old.Paths, r.o.Paths), !old.Ended && r.covers(old.Paths):
		r.runs = old.Runs
	case !old.Ended && len(old.Runs) > 0:
		return &Error{Op: "rekey", Kind: KindLocked, Path: r.s.vol.info.Backing, Err: errOtherRekey,
			hint: "finish it with the same paths, or rekey the whole volume: kmsfs rekey " + r.s.vol.info.Backing}
	}
	if err := r.s.clearTemporaries(ctx); err != nil {
		return err
	}
	return r.s.vol.writeRekeyState(rekeyState{Paths: r.o.Paths, Runs: append(slices.Clone(r.runs), r.s.vol.mountID)})
}

// errOtherRekey: only a run that comes by all names of a file can put its halves together.
var errOtherRekey = errors.New("a rekey of other paths was killed, and may have left a file of several names as two")

// covers reports whether this run comes by whatever one for paths comes by.
func (r *rekey) covers(paths []string) bool {
	if len(paths) == 0 {
		return r.wanted("/")
	}
	return !slices.ContainsFunc(paths, func(p string) bool { return !r.wanted(p) })
}

// end removes the state, or keeps it for a run that tries again what failed.
func (r *rekey) end() error {
	if r.failed.Load() == 0 {
		return r.s.vol.root.Unlink(rekeyRuns)
	}
	return r.s.vol.writeRekeyState(rekeyState{Paths: r.o.Paths, Runs: append(slices.Clone(r.runs), r.s.vol.mountID), Ended: !r.halves.Load()})
}

func (v *volume) writeRekeyState(st rekeyState) error {
	id, err := v.rootID()
	if err != nil {
		return err
	}
	content, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return replaceFile(v.root, rekeyRuns, v.crypto.SealXattr([16]byte(id), rekeyRuns, content))
}

// readRekeyState returns nil when there is none that this volume has written.
func (v *volume) readRekeyState() (*rekeyState, error) {
	id, err := v.rootID()
	if err != nil {
		return nil, err
	}
	f, err := v.root.Open(rekeyRuns, true)
	if errors.Is(err, syscall.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readAll(f, envelope.MaxXattrValue)
	if err != nil {
		return nil, err
	}
	var st rekeyState
	content, err := v.crypto.OpenXattr([16]byte(id), rekeyRuns, b)
	if err == nil {
		err = json.Unmarshal(content, &st)
	}
	if err != nil {
		v.log.Warn("state of an unfinished rekey is damaged: it begins anew", "err", err)
		return &rekeyState{}, nil
	}
	return &st, nil
}
