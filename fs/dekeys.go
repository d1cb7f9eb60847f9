package fs

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/kmsfs/kmsfs/envelope"
)

// generate makes a data key for a new file at path (AWS: GenerateDataKey). The caller wipes it.
func (v *volume) generate(ctx context.Context, path string, seq uint64) (*envelope.DataKey, envelope.Slot, error) {
	l := v.list()
	out, err := ask(ctx, v.keys.GenerateDataKey, &kms.GenerateDataKeyInput{
		KeyId:             &l.arns[l.current],
		KeySpec:           types.DataKeySpecAes256,
		EncryptionContext: envelope.FileContext(v.id, path),
	})
	if err != nil {
		return nil, envelope.Slot{}, v.keyError(ctx, "create", path, l.arns[l.current], err)
	}
	defer clear(out.Plaintext)
	key, err := envelope.NewDataKey(out.Plaintext)
	if err != nil {
		return nil, envelope.Slot{}, newError("create", path, err)
	}
	return key, v.slot(l, path, seq, out.CiphertextBlob), nil
}

// slot makes the slot of a key that l's current CMK wrapped for path.
func (v *volume) slot(l *keyList, path string, seq uint64, wrapped []byte) envelope.Slot {
	return envelope.Slot{
		Kind: envelope.SlotPath, KeyIndex: l.current, LogSeq: seq,
		Tag: v.crypto.PathTag(path), Wrapped: wrapped,
	}
}

// unwrap asks the key service for the data key in a slot that was wrapped for path (AWS: Decrypt).
// The caller wipes it.
func (v *volume) unwrap(ctx context.Context, slot *envelope.Slot, path string) (*envelope.DataKey, error) {
	arn, err := v.list().slotKey(slot)
	if err != nil {
		return nil, &Error{Op: "open", Kind: KindKeyMissing, Path: path, Err: err}
	}
	out, err := ask(ctx, v.keys.Decrypt, &kms.DecryptInput{
		KeyId:             &arn,
		CiphertextBlob:    slot.Wrapped,
		EncryptionContext: envelope.FileContext(v.id, path),
	})
	if err != nil {
		return nil, v.keyError(ctx, "open", path, arn, err)
	}
	defer clear(out.Plaintext)
	key, err := envelope.NewDataKey(out.Plaintext)
	if err != nil {
		return nil, rejected("open", path, "the key service returned a key of the wrong length")
	}
	return key, nil
}

// dataKey unwraps the data key of a file that is about to be opened: from the slot that belongs to its
// path, or in a recovery from the one that does not need the CMK. The caller wipes it.
func (v *volume) dataKey(ctx context.Context, c *candidate, slot *envelope.Slot, path string) (*envelope.DataKey, error) {
	if v.recover == nil {
		return v.unwrap(ctx, slot, path)
	}
	from := c.slots.Recovery()
	if from == nil {
		return nil, newError("recover", path, errNoRecoverySlot)
	}
	key, err := v.recover.dataKey(ctx, v, c.id, from)
	if err != nil {
		return nil, newError("recover", path, err)
	}
	return key, nil
}

// rewrap wraps the key in a slot for another path, without showing it to this process (AWS:
// ReEncrypt). seq is the rename log sequence that newPath stands for.
func (v *volume) rewrap(ctx context.Context, slot *envelope.Slot, path, newPath string, seq uint64) (envelope.Slot, error) {
	l := v.list()
	arn, err := l.slotKey(slot)
	if err != nil {
		return envelope.Slot{}, &Error{Op: "rewrap", Kind: KindKeyMissing, Path: path, Err: err}
	}
	wrapped, err := v.reEncrypt(ctx, arn, slot, path, l.arns[l.current], envelope.FileContext(v.id, newPath))
	if err != nil {
		return envelope.Slot{}, v.keyError(ctx, "rewrap", path, arn, err)
	}
	return v.slot(l, newPath, seq, wrapped), nil
}

// reEncrypt has the key service wrap the key of a slot, which the key arn wrapped for path, by the key
// to under another encryption context (AWS: ReEncrypt).
func (v *volume) reEncrypt(ctx context.Context, arn string, slot *envelope.Slot, path, to string, toContext map[string]string) ([]byte, error) {
	out, err := ask(ctx, v.keys.ReEncrypt, &kms.ReEncryptInput{
		CiphertextBlob:               slot.Wrapped,
		SourceKeyId:                  &arn,
		SourceEncryptionContext:      envelope.FileContext(v.id, path),
		DestinationKeyId:             &to,
		DestinationEncryptionContext: toContext,
	})
	if err != nil {
		return nil, err
	}
	return out.CiphertextBlob, nil
}

// keyError makes the error of a failed call and logs it with volume, path, CMK and cause, which
// the errno alone does not tell.
func (v *volume) keyError(ctx context.Context, op, path, arn string, cause error) *Error {
	e := newError(op, path, expiry(ctx, v.keys, arn, cause))
	if e.Kind == KindInterrupted {
		return e // whoever asked does not want to know any more
	}
	v.log.Warn("key service refused", "op", op, "volume", v.id.String(), "path", path,
		"cmk", arn, "errno", e.Errno().Error(), "cause", cause)
	return e
}

// volumeKey asks for the volume key (AWS: Decrypt), by the CMK or by recovery. The caller wipes it.
func (v *volume) volumeKey(ctx context.Context, vf *envelope.VolumeFile) (*envelope.VolumeKey, error) {
	if v.source == nil {
		return decryptVolumeKey(ctx, v.keys, vf.ID, vf.Keys[vf.WrappedBy], vf.Wrapped)
	}
	var err error
	if v.recover, err = v.source.open(ctx, v.keys, vf); err != nil {
		return nil, err
	}
	return v.recover.volumeKey(ctx, vf)
}

// expiry makes KindKeyExpired of a refusal whose reason is that the CMK's imported material has expired. AWS
// says of such a key what it says of one that never had any; DescribeKey tells them apart.
func expiry(ctx context.Context, keys KeyService, arn string, cause error) error {
	if !pendingImport(cause) {
		return cause
	}
	out, err := ask(ctx, keys.DescribeKey, &kms.DescribeKeyInput{KeyId: &arn})
	if err != nil {
		return cause
	}
	if at := out.KeyMetadata.ValidTo; at == nil || at.After(time.Now()) || out.KeyMetadata.KeyState != types.KeyStatePendingImport {
		return cause
	}
	return &Error{Op: "use imported key material that has expired", Kind: KindKeyExpired, Err: cause,
		hint: "import the same key material again: kmsfs key import " + arn}
}

// decryptVolumeKey has a CMK unwrap a volume key.
func decryptVolumeKey(ctx context.Context, keys KeyService, id envelope.VolumeID, arn string, wrapped []byte) (*envelope.VolumeKey, error) {
	out, err := ask(ctx, keys.Decrypt, &kms.DecryptInput{
		KeyId: &arn, CiphertextBlob: wrapped, EncryptionContext: envelope.VolumeContext(id),
	})
	if err != nil {
		return nil, expiry(ctx, keys, arn, err)
	}
	defer clear(out.Plaintext)
	return envelope.NewVolumeKey(out.Plaintext)
}

// unwrapVolume unwraps the volume key and authenticates the volume file with it.
func (v *volume) unwrapVolume(ctx context.Context, vf *envelope.VolumeFile) (*envelope.Volume, error) {
	key, err := v.volumeKey(ctx, vf)
	if err != nil {
		return nil, newError("attach", v.info.Backing, err)
	}
	defer key.Wipe()
	crypto, err := vf.Verify(key)
	if err != nil {
		return nil, &Error{Op: "attach", Kind: KindBadVolume, Path: v.info.Backing, Err: err,
			hint: "kmsfs.volume was edited; restore it from a backup of the backing directory"}
	}
	return crypto, nil
}
