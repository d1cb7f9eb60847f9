package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/fs"
)

const fsckLong = `Checks a volume that is not mounted: every file with all of its content, key slots, sizes, names,
directory identities, symbolic links, attributes, the rename log and the mount states. FUSE is not
needed. Each fault is a line with class, code, path and what to do; docs/cli.md lists the codes.

Files whose keys cannot be used (disabled, denied, ...) are of class unchecked, which is not damage.
Without --repair nothing is changed, and a read-only backing directory will do.

With --repair orphans are reclaimed, and what can be read of damaged files is saved to a directory of
its own, in plaintext: the tree in files, with holes for what is lost, and report.jsonl with the
lost ranges. Nothing else is changed.

The exit code is that of fsck(8), added up: 0 clean, 1 orphans reclaimed, 4 damage or orphans left,
8 the check could not be done, 16 wrong command line, 32 interrupted, 64 files not checked.`

// Exit codes of fsck, those of fsck(8) and one more; they are added up.
const (
	fsckRepaired  = 1
	fsckLeft      = 4
	fsckFailed    = 8
	fsckUsage     = 16
	fsckCancelled = 32
	fsckUnchecked = 64
)

// fsckRequest is one check, decided.
type fsckRequest struct {
	repair    bool
	salvageTo string
	jobs      int
	noLedger  bool
}

func newFsckCommand(a *app) *cobra.Command {
	var r fsckRequest
	c := &cobra.Command{
		Use:   "fsck [--repair] [--salvage-to DIR] [--jobs N] [--endpoint URL] BACKING",
		Short: "check a volume that is not mounted, reclaim orphans, save what is readable",
		Long:  fsckLong,
		Example: `  kmsfs fsck ~/vault
  kmsfs fsck --repair --salvage-to ~/salvage ~/vault`,
		Args: needArgs("BACKING"),
		RunE: func(c *cobra.Command, args []string) error {
			backing, err := filepath.Abs(args[0])
			if err == nil {
				err = r.complete(backing)
			}
			if err != nil {
				return err
			}
			return a.fsck(c.Context(), backing, r)
		},
	}
	c.Flags().BoolVar(&r.repair, "repair", false, "reclaim orphans and save what is readable of damaged files")
	c.Flags().StringVar(&r.salvageTo, "salvage-to", "", "with --repair: the directory to save to (default BACKING-salvage-DATE-TIME)")
	c.Flags().IntVar(&r.jobs, "jobs", 0, "files that are checked at once (default the number of CPUs)")
	c.Flags().BoolVar(&r.noLedger, "noledger", false, "do not compare with the ledger: for an old copy of a volume")
	a.addEndpointFlag(c.Flags())
	return c
}

func (r *fsckRequest) complete(backing string) error {
	switch {
	case r.jobs < 0:
		return usagef("--jobs %d: it must be at least 1", r.jobs)
	case r.jobs == 0:
		r.jobs = runtime.GOMAXPROCS(0)
	}
	if r.salvageTo != "" && !r.repair {
		return usagef("--salvage-to is for --repair")
	}
	if r.repair && r.salvageTo == "" {
		r.salvageTo = strings.TrimRight(backing, "/") + "-salvage-" + time.Now().Format("20060102-150405")
	}
	return nil
}

// fsck checks a volume and prints what is wrong with it.
func (a *app) fsck(ctx context.Context, backing string, r fsckRequest) error {
	if err := harden(); err != nil {
		return err
	}
	keys, err := a.openKeys(ctx, firstUse{})
	if err != nil {
		return err
	}
	bar := a.ui.Progress("checked")
	if bar.Shown() {
		go countFiles(ctx, backing, bar)
	}
	var printed error
	res, err := fs.Check(ctx, fs.CheckOptions{
		Backing: backing, Keys: keys.Service(), Workers: r.jobs, Repair: r.repair, SalvageDir: r.salvageTo, LedgerDir: a.ledgerDir(r.noLedger), Progress: bar.Add,
		Report: func(f fs.Fault) {
			bar.Clear()
			printed = errors.Join(printed, a.printFault(&f))
		},
	})
	bar.Stop()
	if errors.Is(err, context.Canceled) {
		err = &appError{msg: "interrupted before everything was checked", err: err}
	}
	if err := errors.Join(whereMounted(err, backing), printed, keys.Close()); err != nil {
		return err
	}
	if err := a.printCheck(res); err != nil {
		return err
	}
	return checkCode(res)
}

// checkCode ends the command with the code of a result.
func checkCode(res fs.CheckResult) error {
	code := 0
	if res.Repaired > 0 {
		code += fsckRepaired
	}
	if res.Damaged > 0 || res.Orphans > 0 {
		code += fsckLeft
	}
	if res.Unchecked > 0 {
		code += fsckUnchecked
	}
	if code == 0 {
		return nil
	}
	return &silentError{code}
}

// fsckExitCode is the code of a check that could not be done.
func fsckExitCode(err error) int {
	var quiet *silentError
	switch {
	case errors.As(err, &quiet):
		return quiet.code
	case errors.Is(err, context.Canceled):
		return fsckCancelled
	case exitCode(err) == exitUsage:
		return fsckUsage
	}
	return fsckFailed
}

// countFiles tells a progress bar how many files there are in all, while these are being checked.
func countFiles(ctx context.Context, backing string, bar *progress) {
	if n, err := filesBelow(ctx, backing); err == nil {
		bar.Total(n)
	}
}

// filesBelow counts the regular files below a directory, some entries at a time.
func filesBelow(ctx context.Context, dir string) (files int64, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(1024)
		for _, e := range entries {
			switch {
			case e.Type().IsRegular():
				files++
			case e.IsDir():
				n, err := filesBelow(ctx, filepath.Join(dir, e.Name()))
				if err != nil {
					return files, err
				}
				files += n
			}
		}
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return files, err
		}
	}
}

// printFault prints a fault on one line.
func (a *app) printFault(f *fs.Fault) error {
	if a.json {
		return a.ui.JSONLine(f)
	}
	line := f.String()
	switch {
	case f.Repaired:
		line += "; reclaimed"
	case f.Salvaged != "":
		line += "; the rest was saved to " + f.Salvaged
	}
	if f.Advice != "" {
		line += "; " + f.Advice
	}
	a.ui.Line("%s", line)
	return nil
}

// printCheck prints the summary.
func (a *app) printCheck(res fs.CheckResult) error {
	if a.json {
		return a.ui.JSONLine(map[string]any{"summary": res})
	}
	what := "clean"
	if found := checkWords(res); len(found) > 0 {
		what = strings.Join(found, ", ")
	}
	a.ui.Line("checked %d files, %s: %s", res.Files, humanize.IBytes(uint64(res.Bytes)), what)
	return nil
}

func checkWords(res fs.CheckResult) []string {
	var words []string
	for _, w := range []struct {
		n    int64
		text string
	}{
		{res.Damaged, "damaged"}, {res.Salvaged, "salvaged"}, {res.Orphans, "orphans"},
		{res.Repaired, "orphans reclaimed"}, {res.Unchecked, "not checked"},
	} {
		if w.n > 0 {
			words = append(words, fmt.Sprintf("%d %s", w.n, w.text))
		}
	}
	return words
}
