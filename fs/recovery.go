package fs

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/kmsfs/kmsfs/envelope"
)

// RecoverySource opens a volume without its CMK: it holds what its recovery recipient has.
type RecoverySource struct {
	Private *envelope.RecoveryKey // of an RSA recipient; nil for a key of the key service
	KeyID   string                // ARN, id or alias of the recovery key; "" with Private
}

// recovery is a RecoverySource with the key service that it needs, none for an RSA key alone.
type recovery struct {
	private *envelope.RecoveryKey
	keys    KeyService
	arn     string
}

// Errors of OpenVolume with a RecoverySource that does not fit the volume.
var (
	ErrNoRecovery    = errors.New("the volume has no recovery key")
	ErrOtherRecovery = errors.New("the volume has another recovery key")
)

var errNoRecoverySlot = errors.New("it was made before the volume had this recovery key, and has no recovery slot")

// open makes a recovery for the volume of vf (AWS: DescribeKey for a key of the key service).
func (src *RecoverySource) open(ctx context.Context, keys KeyService, vf *envelope.VolumeFile) (*recovery, error) {
	if vf.Recovery == nil {
		return nil, ErrNoRecovery
	}
	r := &recovery{private: src.Private, keys: keys}
	if src.Private != nil {
		if have := src.Private.Recipient(); have.String() != vf.Recovery.Recipient {
			return nil, otherRecipient(vf, "the key given is "+have.Fingerprint())
		}
		return r, nil
	}
	key, err := ask(ctx, keys.DescribeKey, &kms.DescribeKeyInput{KeyId: &src.KeyID})
	if err != nil {
		return nil, err
	}
	if r.arn = *key.KeyMetadata.Arn; r.arn != vf.Recovery.Recipient {
		return nil, otherRecipient(vf, "the key given is "+r.arn)
	}
	return r, nil
}

// otherRecipient says whose key is wanted.
func otherRecipient(vf *envelope.VolumeFile, have string) error {
	want, err := envelope.ParseRecipient(vf.Recovery.Recipient)
	if err != nil {
		return err
	}
	name := want.KeyARN()
	if name == "" {
		name = "the RSA key with SHA-256 " + want.Fingerprint()
	}
	return fmt.Errorf("%w: it is %s; %s", ErrOtherRecovery, name, have)
}

// volumeKey unwraps the volume key (AWS: Decrypt for a key of the key service).
func (r *recovery) volumeKey(ctx context.Context, vf *envelope.VolumeFile) (*envelope.VolumeKey, error) {
	if r.private != nil {
		return r.private.UnwrapVolumeKey(vf.ID, vf.Recovery.Wrapped)
	}
	return decryptVolumeKey(ctx, r.keys, vf.ID, r.arn, vf.Recovery.Wrapped)
}

// wrapVolume wraps the volume key with another CMK (AWS: Encrypt, or ReEncrypt).
func (r *recovery) wrapVolume(ctx context.Context, vf *envelope.VolumeFile, arn string) ([]byte, error) {
	aad := envelope.VolumeContext(vf.ID)
	if r.private == nil {
		return r.reEncrypt(ctx, vf.Recovery.Wrapped, aad, arn, aad)
	}
	key, err := r.volumeKey(ctx, vf)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	return key.Wrap(func(plaintext []byte) ([]byte, error) { return r.encrypt(ctx, plaintext, arn, aad) })
}

// pathSlot makes a slot for path from a recovery slot.
func (r *recovery) pathSlot(ctx context.Context, v *volume, id envelope.FileID, from *envelope.Slot, path string, seq uint64) (envelope.Slot, error) {
	l := v.list()
	wrapped, err := r.wrapPath(ctx, v, id, from, path, l.arns[l.current])
	if err != nil {
		return envelope.Slot{}, newError("recover", path, err)
	}
	return v.slot(l, path, seq, wrapped), nil
}

func (r *recovery) wrapPath(ctx context.Context, v *volume, id envelope.FileID, from *envelope.Slot, path, arn string) ([]byte, error) {
	if r.private == nil {
		return r.reEncrypt(ctx, from.Wrapped, envelope.RecoveryContext(v.id, id), arn, envelope.FileContext(v.id, path))
	}
	key, err := r.private.UnwrapDataKey(v.id, id, from.Wrapped)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	return key.Wrap(func(plaintext []byte) ([]byte, error) {
		return r.encrypt(ctx, plaintext, arn, envelope.FileContext(v.id, path))
	})
}

// dataKey unwraps the data key in a recovery slot; the caller wipes it.
func (r *recovery) dataKey(ctx context.Context, v *volume, id envelope.FileID, from *envelope.Slot) (*envelope.DataKey, error) {
	if r.private != nil {
		return r.private.UnwrapDataKey(v.id, id, from.Wrapped)
	}
	out, err := ask(ctx, r.keys.Decrypt, &kms.DecryptInput{
		KeyId: &r.arn, CiphertextBlob: from.Wrapped, EncryptionContext: envelope.RecoveryContext(v.id, id)})
	if err != nil {
		return nil, err
	}
	defer clear(out.Plaintext)
	return envelope.NewDataKey(out.Plaintext)
}

func (r *recovery) encrypt(ctx context.Context, plaintext []byte, arn string, aad map[string]string) ([]byte, error) {
	out, err := ask(ctx, r.keys.Encrypt, &kms.EncryptInput{KeyId: &arn, Plaintext: plaintext, EncryptionContext: aad})
	if err != nil {
		return nil, err
	}
	return out.CiphertextBlob, nil
}

func (r *recovery) reEncrypt(ctx context.Context, wrapped []byte, from map[string]string, arn string, to map[string]string) ([]byte, error) {
	out, err := ask(ctx, r.keys.ReEncrypt, &kms.ReEncryptInput{
		CiphertextBlob: wrapped, SourceKeyId: &r.arn, SourceEncryptionContext: from,
		DestinationKeyId: &arn, DestinationEncryptionContext: to,
	})
	if err != nil {
		return nil, err
	}
	return out.CiphertextBlob, nil
}
