package fs

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/kmsfs/kmsfs/envelope"
)

// begin writes what is to be into the volume file, durably, before any slot: from then on a mount knows
// the new CMK, and new files are wrapped with it. A run that was killed finds it there.
func (r *rewrap) begin(ctx context.Context) error {
	v := r.s.vol
	v.fileMu.Lock()
	defer v.fileMu.Unlock()
	r.base = r.s.tree.sequence()
	change, err := r.change(ctx)
	if err != nil {
		return err
	}
	if change != nil {
		if err := v.replaceVolumeFile(change); err != nil {
			return err
		}
	}
	r.list = v.list()
	if !r.list.moving() && r.o.KeyID == "" {
		r.base = 0 // nothing to move: the path slots stay as they are
	}
	r.s.wraps.drain() // what began to wrap a key under the list from before
	return nil
}

// change returns what has to change in the volume file, nil for nothing: a run that was killed has done
// it. v.fileMu is held.
func (r *rewrap) change(ctx context.Context) (func(*envelope.VolumeFile), error) {
	vf := *r.s.vol.file
	arn, err := r.target(ctx)
	if err != nil {
		return nil, err
	}
	next := vf
	if arn != "" {
		if err := r.move(ctx, &next, arn); err != nil {
			return nil, err
		}
	}
	recipient, err := r.recipient(ctx, &next)
	if err != nil {
		return nil, err
	}
	if recipient != nil {
		if next.Recovery, err = recoverVolume(ctx, r.s.vol.keys, &vf, recipient, func() (*envelope.VolumeKey, error) { return r.s.vol.volumeKey(ctx, &vf) }); err != nil {
			return nil, err
		}
	}
	if arn == "" && recipient == nil {
		return nil, nil
	}
	return func(f *envelope.VolumeFile) {
		f.Keys, f.WrappedBy, f.Wrapped, f.Recovery = next.Keys, next.WrappedBy, next.Wrapped, next.Recovery
	}, nil
}

// target resolves the CMK to move to, "" when there is nothing to begin: a volume on its way to it goes
// on (AWS: DescribeKey).
func (r *rewrap) target(ctx context.Context) (string, error) {
	if r.o.KeyID == "" {
		return "", nil
	}
	key, err := ask(ctx, r.s.vol.keys.DescribeKey, &kms.DescribeKeyInput{KeyId: &r.o.KeyID})
	if err != nil {
		return "", err
	}
	arn := aws.ToString(key.KeyMetadata.Arn)
	l := r.s.vol.list()
	if l.moving() && l.arns[l.current] == arn {
		return "", nil
	}
	if l.recovery != nil && l.recovery.KeyARN() == arn {
		return "", errSameRecovery
	}
	return arn, nil
}

// move puts a CMK at a free place of the key list and wraps the volume key with it (AWS: ReEncrypt, or
// Encrypt for a key that was recovered).
func (r *rewrap) move(ctx context.Context, vf *envelope.VolumeFile, arn string) error {
	place, err := freePlace(vf)
	if err != nil {
		return err
	}
	wrapped, err := r.wrapVolume(ctx, vf, arn)
	if err != nil {
		return err
	}
	if r.grants != nil {
		if err := r.grants.add(ctx, arn); err != nil {
			return err
		}
	}
	vf.Keys = append([]string(nil), vf.Keys...)
	if place == len(vf.Keys) {
		vf.Keys = append(vf.Keys, "")
	}
	vf.Keys[place], vf.WrappedBy, vf.Wrapped = arn, place, wrapped
	return nil
}

func (r *rewrap) wrapVolume(ctx context.Context, vf *envelope.VolumeFile, arn string) ([]byte, error) {
	if r.recover != nil {
		return r.recover.wrapVolume(ctx, vf, arn)
	}
	out, err := ask(ctx, r.s.vol.keys.ReEncrypt, &kms.ReEncryptInput{
		CiphertextBlob: vf.Wrapped, SourceKeyId: &vf.Keys[vf.WrappedBy], DestinationKeyId: &arn,
		SourceEncryptionContext: envelope.VolumeContext(vf.ID), DestinationEncryptionContext: envelope.VolumeContext(vf.ID),
	})
	if err != nil {
		return nil, err
	}
	return out.CiphertextBlob, nil
}

// errRecoverFirst: the old CMK is what a new recipient's slots would be made with.
var errRecoverFirst = errors.New("a recovery and a change of its recipient are two steps")

// recipient returns the new recovery recipient, nil when it stays.
func (r *rewrap) recipient(ctx context.Context, vf *envelope.VolumeFile) (*envelope.Recipient, error) {
	if r.o.Recovery.none() {
		return nil, nil
	}
	if r.recover != nil {
		return nil, errRecoverFirst
	}
	to, err := r.o.Recovery.recipient(ctx, r.s.vol.keys, vf.Keys[vf.WrappedBy])
	if err != nil || vf.Recovery != nil && vf.Recovery.Recipient == to.String() {
		return nil, err
	}
	return to, nil
}

// sequence returns the rename log sequence that the tree's paths stand for.
func (t *tree) sequence() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.seq
}
