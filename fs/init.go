package fs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs/backing"
)

// InitOptions says how a volume is made.
type InitOptions struct {
	Backing        string            // directory to hold the ciphertext; empty or not there yet
	Keys           KeyService        // wraps the volume key
	KeyID          string            // CMK: key id, key ARN, alias or alias ARN
	VolumeID       envelope.VolumeID // zero: a random one
	PlaintextNames bool              // keep file names readable in the backing directory
	Compress       bool              // compress new files
	Recovery       RecoveryTarget    // wraps every key a second time
}

// NewVolumeID returns a random volume id.
func NewVolumeID() envelope.VolumeID { return envelope.NewVolumeID() }

// CheckBacking refuses a directory in which no volume can be made, before anything else is done.
func CheckBacking(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		e := newError("init", path, err)
		e.hint = "name a directory of your own that is empty or does not exist yet"
		return e
	}
	for _, e := range entries {
		if e.Name() == volumeName {
			return &Error{Op: "init", Kind: KindNotEmpty, Path: path, Err: errors.New("there is a volume here already"),
				hint: "mount it: kmsfs mount " + path + " MOUNTPOINT"}
		}
	}
	if len(entries) > 0 {
		return &Error{Op: "init", Kind: KindNotEmpty, Path: path, Err: errors.New("the directory is not empty")}
	}
	return nil
}

// InitVolume makes a volume: a volume key wrapped by the CMK, in an authenticated volume file.
// Everything is durable when it returns. A failure leaves no half-made volume behind.
func InitVolume(ctx context.Context, o InitOptions) (VolumeInfo, error) {
	if err := CheckBacking(o.Backing); err != nil {
		return VolumeInfo{}, err
	}
	if o.VolumeID == (envelope.VolumeID{}) {
		o.VolumeID = NewVolumeID()
	}
	vf, crypto, err := newVolumeFile(ctx, &o)
	if err != nil {
		return VolumeInfo{}, err
	}
	defer crypto.Wipe()
	if err := writeVolume(o.Backing, vf, crypto); err != nil {
		return VolumeInfo{}, newError("init", o.Backing, err)
	}
	return volumeInfo(vf, absolute(o.Backing)), nil
}

// newVolumeFile asks the key service for a volume key (AWS: GenerateDataKey with the volume id as
// encryption context).
func newVolumeFile(ctx context.Context, o *InitOptions) (*envelope.VolumeFile, *envelope.Volume, error) {
	key, err := ask(ctx, o.Keys.DescribeKey, &kms.DescribeKeyInput{KeyId: &o.KeyID})
	if err != nil {
		return nil, nil, newError("init", o.Backing, err)
	}
	arn := aws.ToString(key.KeyMetadata.Arn)
	out, err := ask(ctx, o.Keys.GenerateDataKey, &kms.GenerateDataKeyInput{
		KeyId: &arn, KeySpec: types.DataKeySpecAes256, EncryptionContext: envelope.VolumeContext(o.VolumeID),
	})
	if err != nil {
		return nil, nil, newError("init", o.Backing, err)
	}
	defer clear(out.Plaintext)
	vf := &envelope.VolumeFile{
		Format: envelope.VolumeFormat, ID: o.VolumeID, Suite: envelope.SuiteAES256GCM,
		Keys: []string{arn}, Wrapped: out.CiphertextBlob, Created: time.Now().UTC().Truncate(time.Second),
		Options: envelope.VolumeOptions{PlaintextNames: o.PlaintextNames, Compress: o.Compress},
	}
	crypto, err := o.derive(ctx, vf, out.Plaintext)
	if err != nil {
		return nil, nil, newError("init", o.Backing, err)
	}
	return vf, crypto, nil
}

// derive makes the subkeys of a new volume key and wraps it for recovery.
func (o *InitOptions) derive(ctx context.Context, vf *envelope.VolumeFile, plaintext []byte) (*envelope.Volume, error) {
	vk, err := envelope.NewVolumeKey(plaintext)
	if err != nil {
		return nil, err
	}
	defer vk.Wipe()
	if !o.Recovery.none() {
		r, err := o.Recovery.recipient(ctx, o.Keys, vf.Keys[0])
		if err != nil {
			return nil, err
		}
		vf.Recovery, err = recoverVolume(ctx, o.Keys, vf, r, func() (*envelope.VolumeKey, error) { return envelope.NewVolumeKey(plaintext) })
		if err != nil {
			return nil, err
		}
	}
	return envelope.NewVolume(o.VolumeID, vk)
}

// writeVolume makes the directory if need be and the volume in it.
func writeVolume(path string, vf *envelope.VolumeFile, crypto *envelope.Volume) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	root, err := backing.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := writeVolumeIn(root, vf, crypto); err != nil {
		return err
	}
	return syncParents(path)
}

// writeVolumeIn writes identity, mount states and volume file. The volume file comes last: without it
// there is no volume.
func writeVolumeIn(root *backing.Dir, vf *envelope.VolumeFile, crypto *envelope.Volume) error {
	content, err := vf.Marshal(crypto)
	if err != nil {
		return err
	}
	if err := root.Symlink(crypto.SealDir(envelope.DirID{}, "", envelope.NewDirID()), dirLink); err != nil {
		return err
	}
	err = replaceFile(root, envelope.MountsFile, crypto.NewMounts().Marshal())
	if err == nil {
		err = replaceFile(root, volumeName, content)
	}
	if err != nil {
		root.Unlink(envelope.MountsFile)
		root.Unlink(dirLink)
	}
	return err
}

// syncParents makes the directory's own name durable.
func syncParents(path string) error {
	parent, err := backing.OpenRoot(filepath.Dir(absolute(path)))
	if err != nil {
		return err
	}
	defer parent.Close()
	err = parent.Sync()
	if errors.Is(err, syscall.EACCES) {
		return nil // not ours to open; the name is in its journal like any other
	}
	return err
}
