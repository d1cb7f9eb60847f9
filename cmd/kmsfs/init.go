package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/fs"
)

const initLong = `Makes a volume in BACKING, which must be empty or not exist yet. On first use it also makes the
key service in the state directory: a SoftHSM token with a random PIN, the store and the audit
trail. Without --key-id it makes a customer-managed key for this volume alone, with the alias
alias/VOLUME-ID. With --key-id alias/aws/kmsfs it uses the key that the service manages, which
nobody can disable. With --recovery-key every key is wrapped a second time, for an RSA key whose private
half is kept elsewhere or for another KEY, so that the loss of the first is not the loss of the data:
kmsfs recover.`

// initFlags are the flags of init.
type initFlags struct {
	keyID                    string
	recoveryKey              string
	plaintextNames, compress bool
	first                    firstUse
}

func newInitCommand(a *app) *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:   "init [--key-id KEY] [--recovery-key KEY|PUBLIC.pem] [--plaintext-names] [--compress] BACKING",
		Short: "make a volume",
		Long:  initLong,
		Example: `  kmsfs init ~/vault
  kmsfs init --key-id alias/laptop --recovery-key recovery.pem ~/vault`,
		Args: needArgs("BACKING"),
		RunE: func(c *cobra.Command, args []string) error {
			backing, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			return a.initVolume(c.Context(), backing, f)
		},
	}
	c.Flags().StringVar(&f.keyID, "key-id", "", "the KEY that wraps the volume's data keys (default a new key for this volume)")
	c.Flags().StringVar(&f.recoveryKey, "recovery-key", "", "a second KEY, or a file with an RSA public key, that can recover the volume")
	c.Flags().BoolVar(&f.plaintextNames, "plaintext-names", false, "do not encrypt file names")
	c.Flags().BoolVar(&f.compress, "compress", false, "compress files; their sizes then tell something of their content")
	addFirstUseFlags(c, &f.first)
	a.addEndpointFlag(c.Flags())
	return c
}

// initVolume opens the key service, makes a key if none is named, and makes the volume.
func (a *app) initVolume(ctx context.Context, backing string, f initFlags) error {
	if err := fs.CheckBacking(backing); err != nil {
		return err
	}
	recovery, err := recoveryTarget(f.recoveryKey)
	if err != nil {
		return err
	}
	keys, err := a.openKeys(ctx, f.first)
	if err != nil {
		return err
	}
	defer keys.Close()
	opts := fs.InitOptions{
		Backing: backing, Keys: keys.Service(), KeyID: f.keyID, VolumeID: fs.NewVolumeID(),
		PlaintextNames: f.plaintextNames, Compress: f.compress, Recovery: recovery,
	}
	if f.keyID == "" {
		if opts.KeyID, err = createVolumeKey(ctx, keys.Service(), opts.VolumeID.String(), backing); err != nil {
			return err
		}
	}
	info, err := fs.InitVolume(ctx, opts)
	if err != nil {
		if f.keyID == "" {
			a.dropVolumeKey(keys.Service(), opts)
		}
		return err
	}
	if a.json {
		return a.ui.JSON(volumeJSON(info))
	}
	return a.printVolume(info)
}

// createVolumeKey makes the key of a new volume and returns its id.
func createVolumeKey(ctx context.Context, s keyClient, volume, backing string) (string, error) {
	meta, err := (&keyFlags{description: "kmsfs volume " + backing, alias: "alias/" + volume}).create(ctx, s)
	var denied smithy.APIError
	if errors.As(err, &denied) && denied.ErrorCode() == "AccessDeniedException" {
		return "", &appError{err: err, hints: []string{"name a key that you may use: kmsfs init --key-id KEY"}}
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(meta.KeyId), nil
}

// dropVolumeKey gives back the key of a volume that could not be made. It protects nothing yet.
func (a *app) dropVolumeKey(s keyClient, opts fs.InitOptions) {
	ctx := context.Background() // also after an interrupt
	_, err := s.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/" + opts.VolumeID.String())})
	if err == nil {
		_, err = s.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{
			KeyId: aws.String(opts.KeyID), PendingWindowInDays: aws.Int32(minDeletionDays)})
	}
	if err != nil {
		a.ui.Note("the new key %s is left over: %v", opts.KeyID, err)
	}
}

// minDeletionDays is the shortest waiting period that AWS KMS allows.
const minDeletionDays = 7
