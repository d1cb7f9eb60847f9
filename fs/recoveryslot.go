package fs

import (
	"context"

	"github.com/kmsfs/kmsfs/envelope"
)

// fileKey is the data key of a new file with all its wrappings.
type fileKey struct {
	id    envelope.FileID
	key   *envelope.DataKey
	slots envelope.SlotTable
}

// Wipe overwrites the data key.
func (k *fileKey) Wipe() { k.key.Wipe() }

// newFileKey makes the id and data key of a new file: wrapped for each of paths, and for recovery. The
// caller wipes it, and has entered wrapGate; Offline.Create has not, for Offline.Rewrap excludes it.
func (v *volume) newFileKey(ctx context.Context, paths []string, seq uint64) (*fileKey, error) {
	return v.newKeyFor(ctx, newFileID(), paths, seq)
}

// newKeyFor is newFileKey for an id.
func (v *volume) newKeyFor(ctx context.Context, id envelope.FileID, paths []string, seq uint64) (*fileKey, error) {
	key, slot, err := v.generate(ctx, paths[0], seq)
	if err != nil {
		return nil, err
	}
	k := &fileKey{id: id, key: key, slots: envelope.SlotTable{Version: 1, Slots: []envelope.Slot{slot}}}
	for _, path := range paths[1:] {
		more, err := v.rewrap(ctx, &slot, paths[0], path, seq)
		if err != nil {
			k.Wipe()
			return nil, err
		}
		k.slots.Slots = append(k.slots.Slots, more)
	}
	if k.slots.Slots, err = v.withRecovery(ctx, k.id, key, paths[0], k.slots.Slots); err != nil {
		k.Wipe()
		return nil, err
	}
	return k, nil
}

// withRecovery adds the recovery slot of a file with a new data key to its slots, the first of which
// was wrapped for path. A volume without a recovery recipient needs none.
func (v *volume) withRecovery(ctx context.Context, id envelope.FileID, key *envelope.DataKey, path string, slots []envelope.Slot) ([]envelope.Slot, error) {
	l := v.list()
	if l.recovery == nil {
		return slots, nil
	}
	slot, err := v.recoverySlot(ctx, l, id, key, &slots[0], path)
	if err != nil {
		return nil, err
	}
	return append(slots, slot), nil
}

// recoverySlot wraps a data key for the recovery recipient: with an RSA public key here, with a key of
// the key service there (AWS: ReEncrypt), from the slot that was wrapped for path.
func (v *volume) recoverySlot(ctx context.Context, l *keyList, id envelope.FileID, key *envelope.DataKey, from *envelope.Slot, path string) (envelope.Slot, error) {
	if l.recovery.KeyARN() == "" {
		wrapped, err := l.recovery.WrapDataKey(v.id, id, key)
		if err != nil {
			return envelope.Slot{}, newError("wrap for recovery", path, err)
		}
		return l.recovery.Slot(wrapped), nil
	}
	arn, err := l.slotKey(from)
	if err != nil {
		return envelope.Slot{}, newError("wrap for recovery", path, err)
	}
	wrapped, err := v.reEncrypt(ctx, arn, from, path, l.recovery.KeyARN(), envelope.RecoveryContext(v.id, id))
	if err != nil {
		return envelope.Slot{}, v.keyError(ctx, "wrap for recovery", path, l.recovery.KeyARN(), err)
	}
	return l.recovery.Slot(wrapped), nil
}
