package fs

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kmsfs/kmsfs/envelope"
)

// keyList says which keys wrap what belongs to a volume. It is never changed, only replaced.
type keyList struct {
	arns     []string            // of CMKs, by slot index; "" for one that has left the volume
	current  uint8               // wraps new data keys and the volume key
	recovery *envelope.Recipient // wraps every data key a second time; nil without recovery
}

// list returns the present key list.
func (v *volume) list() *keyList { return v.keyList.Load() }

// currentARN returns the CMK that new data keys are wrapped with.
func (v *volume) currentARN() string {
	l := v.list()
	return l.arns[l.current]
}

// inUse lists the CMKs that may have wrapped a slot, the current one first, each once.
func (l *keyList) inUse() []string {
	out := []string{l.arns[l.current]}
	for _, arn := range l.arns {
		if arn != "" && !slices.Contains(out, arn) {
			out = append(out, arn)
		}
	}
	return out
}

// moving reports whether slots of other places than the current one may be left.
func (l *keyList) moving() bool {
	for i, arn := range l.arns {
		if arn != "" && i != int(l.current) {
			return true
		}
	}
	return false
}

// takeKeys makes an authenticated volume file the one that v goes by.
func (v *volume) takeKeys(vf *envelope.VolumeFile) error {
	l := &keyList{arns: slices.Clone(vf.Keys), current: uint8(vf.WrappedBy)}
	if vf.Recovery != nil {
		var err error
		if l.recovery, err = envelope.ParseRecipient(vf.Recovery.Recipient); err != nil {
			return err
		}
	}
	v.file = vf
	v.keyList.Store(l)
	return nil
}

// replaceVolumeFile changes the volume file durably. The lock of the volume passes to the new file
// before it takes the name, so that it is never free. v.fileMu is held.
func (v *volume) replaceVolumeFile(change func(*envelope.VolumeFile)) error {
	vf := *v.file
	vf.Keys = slices.Clone(vf.Keys)
	change(&vf)
	content, err := vf.Marshal(v.crypto)
	if err != nil {
		return err
	}
	lock, err := replaceLocked(v.root, volumeName, content)
	if err != nil {
		return err
	}
	v.lock.Close()
	v.lock = lock
	if err := v.checkVolumeFile(); err != nil {
		return err
	}
	return v.takeKeys(&vf)
}

// freePlace finds a place for one more key, an empty one or a new one.
func freePlace(vf *envelope.VolumeFile) (int, error) {
	if i := slices.Index(vf.Keys, ""); i >= 0 {
		return i, nil
	}
	if len(vf.Keys) == envelope.MaxVolumeKeys {
		return 0, fmt.Errorf("the volume has %d keys already", len(vf.Keys))
	}
	return len(vf.Keys), nil
}

// errKeyLeft: a slot names a place that is empty or was never there.
var errKeyLeft = errors.New("the key that wrapped it is not one of the volume's any more")

// slotKey returns the ARN of the CMK that a slot names.
func (l *keyList) slotKey(slot *envelope.Slot) (string, error) {
	if int(slot.KeyIndex) >= len(l.arns) || l.arns[slot.KeyIndex] == "" {
		return "", fmt.Errorf("slot of key %d: %w", slot.KeyIndex, errKeyLeft)
	}
	return l.arns[slot.KeyIndex], nil
}
