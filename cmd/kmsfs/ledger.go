package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/fs"
)

const ledgerLong = `A mount remembers in STATE-DIR/ledger what a volume was like: the newest commit of each file,
a digest of each directory, the rename log, the volume file. Whole files or directories that are
older than that, were removed or brought back in the backing directory then give EIO.

After a restore from a backup the store is older in earnest: accept it.`

func newLedgerCommand(a *app) *cobra.Command {
	c := newParent("ledger", "what is remembered of a volume, against rollback and deletion",
		a.ledgerCommand("show", "tell what the ledger of a volume holds", a.showLedger),
		a.withEndpoint(a.ledgerCommand("verify", "compare every file and directory with the ledger", a.verifyLedger)),
		a.withEndpoint(a.ledgerCommand("accept", "take the store for right as it is, after a restore", a.acceptLedger)),
		a.ledgerCommand("forget", "remove the ledger; the next mount learns the volume anew", a.forgetLedger))
	c.Long = ledgerLong
	return c
}

// ledgerCommand makes a subcommand that takes a backing directory.
func (a *app) ledgerCommand(name, short string, run func(ctx context.Context, backing string) error) *cobra.Command {
	return &cobra.Command{
		Use: name + " BACKING", Short: short, Args: needArgs("BACKING"),
		RunE: func(c *cobra.Command, args []string) error {
			backing, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			return run(c.Context(), backing)
		},
	}
}

// withEndpoint is for the subcommands that open the volume.
func (a *app) withEndpoint(c *cobra.Command) *cobra.Command {
	a.addEndpointFlag(c.Flags())
	return c
}

func (a *app) showLedger(_ context.Context, backing string) error {
	volume, err := fs.ReadVolumeInfo(backing)
	if err != nil {
		return err
	}
	s, err := fs.LedgerSummary(a.ledgerDir(false), volume.ID)
	if err != nil {
		return err
	}
	if a.json {
		return a.ui.JSON(s)
	}
	state := "ended cleanly"
	if s.Open {
		state = "running, or ended without a word"
	}
	return a.ui.Fields(
		"Volume", volume.ID,
		"Ledger", s.Path,
		"Size", humanize.IBytes(uint64(s.Bytes)),
		"Written", localTime(s.Written),
		"Files", strconv.Itoa(s.Files),
		"Directories", fmt.Sprintf("%d, %d of them in flux", s.Directories, s.InFlux),
		"Directory renames", strconv.FormatUint(s.Renames, 10),
		"Last mount", state)
}

func (a *app) verifyLedger(ctx context.Context, backing string) error {
	return a.compareLedger(ctx, backing, fs.OfflineOptions{ReadOnly: true})
}

func (a *app) acceptLedger(ctx context.Context, backing string) error {
	return a.compareLedger(ctx, backing, fs.OfflineOptions{AcceptStore: true})
}

// compareLedger compares a volume with its ledger and prints what differs.
func (a *app) compareLedger(ctx context.Context, backing string, o fs.OfflineOptions) error {
	if err := harden(); err != nil {
		return err
	}
	return a.withKeys(ctx, func(keys keyClient) error {
		o.Backing, o.Keys, o.LedgerDir = backing, keys, a.ledgerDir(false)
		volume, err := fs.OpenVolume(ctx, o)
		if err != nil {
			return whereMounted(err, backing)
		}
		r, err := volume.CompareLedger(ctx, func(path string, err error) { a.ui.Note("%s: %v", path, err) })
		if err = errors.Join(err, volume.Close()); err != nil {
			return err
		}
		return a.reportLedger(r, backing)
	})
}

func (a *app) reportLedger(r fs.LedgerReport, backing string) error {
	if a.json {
		if err := a.ui.JSON(r); err != nil {
			return err
		}
	} else if err := a.ui.Fields("Directories", strconv.FormatInt(r.Directories, 10), "Files", strconv.FormatInt(r.Files, 10),
		"Violations", strconv.FormatInt(r.Violations, 10)); err != nil {
		return err
	}
	if r.Violations > 0 {
		return failf(exitIntegrity, "after a restore from a backup: kmsfs ledger accept "+backing,
			"%s is not what the ledger knows, in %d places", backing, r.Violations)
	}
	return nil
}

func (a *app) forgetLedger(_ context.Context, backing string) error {
	volume, err := fs.ReadVolumeInfo(backing)
	if err != nil {
		return err
	}
	return fs.ForgetLedger(a.ledgerDir(false), volume.ID)
}
