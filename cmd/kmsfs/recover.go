package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/copytree"
	"github.com/kmsfs/kmsfs/fs"
)

const recoverLong = `Opens a volume with its recovery key, when the KMS key that wraps its data keys, or the whole key
service, is lost. --recovery-key is a file with the RSA private key (PEM, PKCS#8 or PKCS#1; the passphrase
of an encrypted one is asked for), or a KEY where the volume's recovery key is one.

--to wraps everything with another KEY, in place; the volume can then be mounted as before. After an
interruption run the same command again. --extract writes the decrypted tree to a new directory and
leaves the volume alone; with an RSA key no key service is needed.

A file that was moved in the backing directory, or was made before the volume had this recovery key, is
an error; the others are done.`

// recoverRequest is one recovery, decided.
type recoverRequest struct{ backing, key, to, extract string }

func newRecoverCommand(a *app) *cobra.Command {
	var r recoverRequest
	c := &cobra.Command{
		Use:   "recover --recovery-key KEY|PRIVATE.pem {--to KEY | --extract DIR} BACKING",
		Short: "open a volume whose key is lost, with its recovery key",
		Long:  recoverLong,
		Example: `  kmsfs recover --recovery-key private.pem --to alias/new ~/vault
  kmsfs recover --recovery-key private.pem --extract ~/rescued ~/vault`,
		Args: needArgs("BACKING"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if r.key == "" {
				return usagef("%s: --recovery-key is missing", c.CommandPath())
			}
			if (r.to == "") == (r.extract == "") {
				return usagef("%s: give one of --to and --extract", c.CommandPath())
			}
			if r.backing, err = filepath.Abs(args[0]); err != nil {
				return err
			}
			return a.recover(c.Context(), r)
		},
	}
	c.Flags().StringVar(&r.key, "recovery-key", "", "a file with the RSA private key, or the KEY, that recovers the volume")
	c.Flags().StringVar(&r.to, "to", "", "the KEY that is to wrap everything from now on")
	c.Flags().StringVar(&r.extract, "extract", "", "a new directory for the decrypted files")
	a.addEndpointFlag(c.Flags())
	return c
}

// recover opens the volume with the recovery key; the key service only where something of it is used.
func (a *app) recover(ctx context.Context, r recoverRequest) error {
	if err := harden(); err != nil {
		return err
	}
	if _, err := fs.ReadVolumeInfo(r.backing); err != nil {
		return err
	}
	source, err := a.recoverySource(r.key)
	if err != nil {
		return err
	}
	defer source.Private.Wipe()
	o := fs.OfflineOptions{Backing: r.backing, ReadOnly: r.extract != "", Recovery: source, LedgerDir: a.ledgerDir(false)}
	if r.to != "" || source.Private == nil {
		keys, err := a.openKeys(ctx, firstUse{})
		if err != nil {
			return err
		}
		defer keys.Close()
		o.Keys = keys.Service()
	}
	volume, err := fs.OpenVolume(ctx, o)
	if err != nil {
		return explainRecovery(whereMounted(err, r.backing), r.backing)
	}
	if r.extract != "" {
		return errors.Join(a.extract(ctx, volume, r.extract), volume.Close())
	}
	work := newRewrapReport(a.ui)
	defer work.bar.Stop()
	work.count(ctx, volume)
	res, err := volume.Rewrap(ctx, (&rewrapRequest{to: r.to}).options(work))
	return a.rewrapped(ctx, work, res, errors.Join(err, volume.Close()))
}

// explainRecovery says where to look for the right key.
func explainRecovery(err error, backing string) error {
	if errors.Is(err, fs.ErrNoRecovery) {
		return &appError{err: err, code: exitNotFound, hints: []string{"a volume has one if it was made with init --recovery-key, or given one with rewrap --add-recovery-key"}}
	}
	if errors.Is(err, fs.ErrOtherRecovery) {
		return &appError{err: err, code: exitDenied, hints: []string{"see whose key it is: kmsfs info " + backing}}
	}
	return err
}

// extract copies everything to a new directory.
func (a *app) extract(ctx context.Context, volume *fs.Offline, dir string) error {
	if err := fs.CheckBacking(dir); err != nil {
		return failf(exitConflict, "name a directory that does not exist yet", "%s is not empty", dir)
	}
	failures := a.ui.Failures()
	bar := a.ui.Progress("extracted")
	defer bar.Stop()
	if bar.Shown() {
		bar.Total(volume.Count(ctx))
	}
	c := &copytree.Copier{From: copytree.Volume{Offline: volume}, To: copytree.Local{}, Recursive: true, Preserve: true, Links: true,
		Copied: bar.Add, Failed: func(err error) { bar.Clear(); failures.Add(explainCopy(err)) }}
	c.Copy(ctx, "/", dir)
	bar.Stop()
	return failures.Result()
}
