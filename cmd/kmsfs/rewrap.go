package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/envelope"
	"github.com/kmsfs/kmsfs/fs"
)

const rewrapLong = `Wraps the key of the volume, and of each file, with another KMS key; with --to the same key, with its
newest material after a rotation. The content of files is not touched, and no data key leaves the
key service. Where the volume is mounted, the mount does it while it is in use. After an interruption
run the same command again: it goes on where it ended. Until it has finished, the volume needs the old
key and the new one.

--add-recovery-key gives the volume a recovery key, or another one: a KEY, or a file with an RSA public
key. For an RSA key each file's data key is in this process for a moment.`

// rewrapRequest is one rewrap, decided.
type rewrapRequest struct {
	backing, to, recovery string
	target                fs.RecoveryTarget
}

func newRewrapCommand(a *app) *cobra.Command {
	var r rewrapRequest
	c := &cobra.Command{
		Use:   "rewrap [--to KEY] [--add-recovery-key KEY|PUBLIC.pem] BACKING",
		Short: "move a volume to another key, or to the newest material of the same",
		Long:  rewrapLong,
		Example: `  kmsfs rewrap --to alias/new ~/vault
  kmsfs key rotate alias/vault && kmsfs rewrap --to alias/vault ~/vault
  kmsfs rewrap --add-recovery-key recovery.pem ~/vault`,
		Args: needArgs("BACKING"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if r.to == "" && r.recovery == "" {
				return failf(exitUsage, "move it to another key: kmsfs rewrap --to KEY "+args[0], "nothing to do: neither --to nor --add-recovery-key is given")
			}
			if r.target, err = recoveryTarget(r.recovery); err != nil {
				return err
			}
			if r.backing, err = filepath.Abs(args[0]); err != nil {
				return err
			}
			return a.rewrap(c.Context(), r)
		},
	}
	c.Flags().StringVar(&r.to, "to", "", "the KEY that is to wrap everything from now on")
	c.Flags().StringVar(&r.recovery, "add-recovery-key", "", "a second KEY, or a file with an RSA public key, that can recover the volume")
	a.addEndpointFlag(c.Flags())
	return c
}

// rewrap asks the mount of the volume, or does it itself where there is none.
func (a *app) rewrap(ctx context.Context, r rewrapRequest) error {
	if _, err := fs.ReadVolumeInfo(r.backing); err != nil {
		return err
	}
	client, err := a.daemonOf(ctx, r.backing)
	if err != nil {
		return err
	}
	work := newRewrapReport(a.ui)
	defer work.bar.Stop()
	var res fs.RewrapResult
	if client != nil {
		res, err = client.Rewrap(ctx, r.request(), control.RewrapEvents{Progress: work.progress, Failed: work.failed})
	} else {
		err = a.withVolumes(ctx, func(v *offlineVolumes) error {
			o, err := v.volume(ctx, r.backing, false)
			if err != nil {
				return err
			}
			work.count(ctx, o)
			res, err = o.Rewrap(ctx, r.options(work))
			return err
		})
	}
	return a.rewrapped(ctx, work, res, err)
}

func (r *rewrapRequest) options(work *rewrapReport) fs.RewrapOptions {
	return fs.RewrapOptions{KeyID: r.to, Recovery: r.target, Progress: work.progress,
		Failed: func(_ string, err error) { work.failed(err) }}
}

func (r *rewrapRequest) request() control.RewrapRequest {
	req := control.RewrapRequest{KeyID: r.to, RecoveryKeyID: r.target.KeyID}
	if r.target.Public != nil {
		req.RecoveryRecipient = r.target.Public.String()
	}
	return req
}

// daemonOf returns a client for the daemon of this user that has the volume of backing mounted, nil
// when there is none.
func (a *app) daemonOf(ctx context.Context, backing string) (*control.Client, error) {
	clients, err := control.List(a.runtimeDir())
	if err != nil {
		return nil, err
	}
	for _, c := range clients {
		if st, err := askStatus(ctx, c); err == nil && sameDirectory(st.Backing, backing) {
			return c, nil
		}
	}
	return nil, nil
}

// rewrapped prints the result. Files that failed were told already; the exit code is theirs.
func (a *app) rewrapped(ctx context.Context, work *rewrapReport, res fs.RewrapResult, err error) error {
	work.bar.Stop()
	if err != nil {
		return resumable(ctx, explainFailure(err))
	}
	if a.json {
		err = a.ui.JSON(res)
	} else {
		err = a.printRewrap(res)
	}
	if err != nil {
		return err
	}
	for _, arn := range res.Left {
		a.ui.Note("this volume does not need %s any more", arn)
		a.ui.Hint("when no other volume does: kmsfs key schedule-deletion " + arn)
	}
	if err := work.failures.Result(); err != nil || res.Finished {
		return err
	}
	return failf(exitFailure, "run it again", "the volume was changed too fast to be finished")
}

func (a *app) printRewrap(res fs.RewrapResult) error {
	finished := "yes"
	if !res.Finished {
		finished = "no: the old key is needed still; repair or remove what failed, then run it again"
	}
	return a.ui.Fields(
		"Key", res.KeyARN,
		"Files", strconv.FormatInt(res.Files, 10),
		"Wrapped anew", strconv.FormatInt(res.Wrapped, 10),
		"Failed", strconv.FormatInt(res.Failed, 10),
		"Finished", finished)
}

// resumable tells what an interruption leaves.
func resumable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &appError{code: exitFailure, msg: "interrupted", hints: []string{"run the same command again: it goes on where it ended; until then the volume needs both keys"}}
	}
	return err
}

// explainFailure gives what a daemon reports its exit code and hints.
func explainFailure(err error) error {
	var f *control.Failure
	if errors.As(err, &f) {
		return &appError{msg: f.Message, code: f.Exit, hints: f.Hints}
	}
	return err
}

// rewrapReport tells how a rewrap goes.
type rewrapReport struct {
	bar      *progress
	failures *failures
}

func newRewrapReport(u *ui) *rewrapReport {
	return &rewrapReport{bar: u.Progress("wrapped"), failures: u.Failures()}
}

// count finds out how many files there are, when somebody watches.
func (w *rewrapReport) count(ctx context.Context, o *fs.Offline) {
	if w.bar.Shown() {
		w.bar.Total(o.Count(ctx))
	}
}

// progress takes the number of files of this pass.
func (w *rewrapReport) progress(files int64) { w.bar.Set(int(files)) }

func (w *rewrapReport) failed(err error) {
	w.bar.Clear()
	w.failures.Add(explainFailure(err))
}

// Rewrap implements control.Handler.
func (d *daemon) Rewrap(ctx context.Context, req control.RewrapRequest, progress func(int64), failed func(*control.Failure)) (fs.RewrapResult, *control.Failure) {
	opts := fs.RewrapOptions{KeyID: req.KeyID, Recovery: fs.RecoveryTarget{KeyID: req.RecoveryKeyID}, Progress: progress,
		Failed: func(_ string, err error) { failed(failureOf(err)) }}
	if req.RecoveryRecipient != "" {
		var err error
		if opts.Recovery.Public, err = envelope.ParseRecipient(req.RecoveryRecipient); err != nil {
			return fs.RewrapResult{}, failureOf(err)
		}
	}
	d.log.Info("rewrap begins", "to", req.KeyID)
	res, err := d.server.Rewrap(ctx, opts)
	d.log.Info("rewrap ends", "result", fmt.Sprintf("%+v", res), "error", err)
	return res, failureOf(err)
}

// failureOf makes an error what the command that asked can print; nil stays nil.
func failureOf(err error) *control.Failure {
	if err == nil {
		return nil
	}
	return &control.Failure{Message: strings.TrimSpace(message(err)), Exit: exitCode(err), Hints: hints(err)}
}
