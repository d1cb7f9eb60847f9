package fs

import (
	"context"
	"errors"
	"fmt"

	"github.com/kmsfs/kmsfs/envelope"
)

// rewrapPlan says what becomes of the slots of one file.
type rewrapPlan struct {
	id       envelope.FileID
	table    envelope.SlotTable
	paths    []string
	seq      uint64 // rename log sequence that paths stand for
	allKnown bool   // paths are all names that the file has

	served   []bool          // by path: a slot belongs to it
	jobs     []rewrapJob     // slots to be wrapped anew
	next     []envelope.Slot // those that stay; then, by wrap, the new ones
	recovery bool            // a recovery slot has to be made
	pending  bool            // slots of names that are not known
	made     int
	gone     int
}

// rewrapJob is a slot that was wrapped under the path at and is to be wrapped for path.
type rewrapJob struct {
	slot     *envelope.Slot
	at, path string
}

// settled reports whether the slots are as they have to be.
func (p *rewrapPlan) settled() bool { return len(p.jobs) == 0 && !p.recovery && p.gone == 0 }

// errUnknownNames: a slot is of a name that the walk did not come by.
var errUnknownNames = errors.New("not all of its names were found, so not all of its keys could be wrapped anew")

func (p *rewrapPlan) unknown() error {
	if p.pending {
		return errUnknownNames
	}
	return nil
}

// decide sorts the slots. Of several that serve one path, the one that an open would take goes on.
func (r *rewrap) decide(p *rewrapPlan) {
	p.served = make([]bool, len(p.paths))
	serves := make(map[*envelope.Slot]rewrapJob)
	for i, path := range p.paths {
		if slot, at := r.s.match(&p.table, []string{path}, p.seq); slot != nil {
			p.served[i] = true
			serves[slot] = rewrapJob{slot, at, path}
		}
	}
	p.recovery = r.list.recovery != nil
	for i := range p.table.Slots {
		slot := &p.table.Slots[i]
		job, serving := serves[slot]
		switch {
		case slot.Kind == envelope.SlotRecovery:
			r.decideRecovery(p, slot)
		case r.fresh(slot) && (serving || r.grants != nil):
			p.next = append(p.next, *slot) // on a mount also one of a rename or link that is under way
		case serving:
			p.jobs = append(p.jobs, job)
		case p.allKnown:
			p.gone++
		default:
			p.pending = p.pending || !r.fresh(slot)
			p.next = append(p.next, *slot)
		}
	}
}

// decideRecovery keeps a recovery slot that is for the volume's recipient.
func (r *rewrap) decideRecovery(p *rewrapPlan, slot *envelope.Slot) {
	if r.list.recovery == nil || slot.Tag != r.list.recovery.Tag() {
		p.gone++
		return
	}
	p.recovery = false
	p.next = append(p.next, *slot)
}

// fresh reports whether a path slot was wrapped by the present CMK, and no earlier in the rename log than this
// run began: what a run that was killed has wrapped before the last rename of a directory is wrapped again.
func (r *rewrap) fresh(slot *envelope.Slot) bool {
	return slot.KeyIndex == r.list.current && slot.LogSeq >= r.base
}

// wrap has the key service make the new slots. No lock is held meanwhile.
func (r *rewrap) wrap(ctx context.Context, p *rewrapPlan) error {
	for _, j := range p.jobs {
		slot, err := r.wrapOne(ctx, p, j)
		if err != nil {
			return err
		}
		slot.Dropping = j.slot.Dropping
		p.next = append(p.next, slot)
		p.made++
	}
	if !p.recovery {
		return nil
	}
	slot, err := r.wrapRecovery(ctx, p)
	if err != nil {
		return err
	}
	p.next = append(p.next, slot)
	p.made++
	return nil
}

func (r *rewrap) wrapOne(ctx context.Context, p *rewrapPlan, j rewrapJob) (envelope.Slot, error) {
	if r.recover == nil {
		return r.s.vol.rewrap(ctx, j.slot, j.at, j.path, p.seq)
	}
	from := p.table.Recovery()
	if from == nil {
		return envelope.Slot{}, errNoRecoverySlot
	}
	return r.recover.pathSlot(ctx, r.s.vol, p.id, from, j.path, p.seq)
}

// wrapRecovery makes the recovery slot from a slot of a path. An RSA recipient needs the data key itself
// for a moment.
func (r *rewrap) wrapRecovery(ctx context.Context, p *rewrapPlan) (envelope.Slot, error) {
	for _, path := range p.paths {
		slot, at := r.s.match(&envelope.SlotTable{Slots: p.next}, []string{path}, p.seq)
		if slot == nil {
			continue
		}
		if r.list.recovery.KeyARN() != "" {
			return r.s.vol.recoverySlot(ctx, r.list, p.id, nil, slot, at)
		}
		key, err := r.s.vol.unwrap(ctx, slot, at)
		if err != nil {
			return envelope.Slot{}, err
		}
		defer key.Wipe()
		return r.s.vol.recoverySlot(ctx, r.list, p.id, key, slot, at)
	}
	return envelope.Slot{}, fmt.Errorf("no slot to make the recovery slot from: %w", errUnknownNames)
}
