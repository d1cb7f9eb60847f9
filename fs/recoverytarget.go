package fs

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/kmsfs/kmsfs/envelope"
)

// RecoveryTarget names who is to be able to recover a volume: an RSA public key, or a key of the key
// service. The zero value is nobody.
type RecoveryTarget struct {
	Public *envelope.Recipient // RSA; nil for a key of the key service
	KeyID  string              // key id, key ARN, alias or alias ARN
}

// none reports whether t names nobody.
func (t RecoveryTarget) none() bool { return t.Public == nil && t.KeyID == "" }

// errSameRecovery: what wraps the data keys cannot stand in for itself.
var errSameRecovery = errors.New("the recovery key is the volume's own key")

// recipient resolves t to a recipient other than the CMK cmk (AWS: DescribeKey).
func (t RecoveryTarget) recipient(ctx context.Context, keys KeyService, cmk string) (*envelope.Recipient, error) {
	if t.Public != nil {
		return t.Public, nil
	}
	key, err := ask(ctx, keys.DescribeKey, &kms.DescribeKeyInput{KeyId: &t.KeyID})
	if err != nil {
		return nil, err
	}
	arn := aws.ToString(key.KeyMetadata.Arn)
	if arn == cmk {
		return nil, errSameRecovery
	}
	return envelope.ParseRecipient(arn)
}

// recoverVolume wraps the volume key of vf for a recipient: with an RSA key here, from the plaintext key
// that unwrap gets; with a key of the key service there (AWS: ReEncrypt).
func recoverVolume(ctx context.Context, keys KeyService, vf *envelope.VolumeFile, r *envelope.Recipient, unwrap func() (*envelope.VolumeKey, error)) (*envelope.Recovery, error) {
	if arn := r.KeyARN(); arn != "" {
		out, err := ask(ctx, keys.ReEncrypt, &kms.ReEncryptInput{
			CiphertextBlob: vf.Wrapped, SourceKeyId: &vf.Keys[vf.WrappedBy], DestinationKeyId: &arn,
			SourceEncryptionContext: envelope.VolumeContext(vf.ID), DestinationEncryptionContext: envelope.VolumeContext(vf.ID),
		})
		if err != nil {
			return nil, err
		}
		return &envelope.Recovery{Recipient: r.String(), Wrapped: out.CiphertextBlob}, nil
	}
	key, err := unwrap()
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	wrapped, err := r.WrapVolumeKey(vf.ID, key)
	if err != nil {
		return nil, err
	}
	return &envelope.Recovery{Recipient: r.String(), Wrapped: wrapped}, nil
}
