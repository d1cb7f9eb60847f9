package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/embedded"
)

func newAuditCommand(a *app) *cobra.Command {
	var f auditFilter
	var since string
	var follow bool
	c := &cobra.Command{
		Use:   "audit [--follow] [--errors] [--key-id KEY] [--event NAME] [--path PATH] [--since TIME] [--last N]",
		Short: "read the audit trail: every call of the key service, refused ones too",
		Long: `Reads the trail of the state directory; no PIN is needed. With --json each line is a record in the
shape of AWS CloudTrail, as it stands in the trail.`,
		Example: `  kmsfs audit --errors --since 1h
  kmsfs audit --path /payroll --json
  kmsfs audit --follow --last 10`,
		Args: unknownCommand,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if f.since, err = parseSince(since, time.Now()); err != nil {
				return err
			}
			if f.key, err = a.auditKey(c.Context(), f.key); err != nil {
				return err
			}
			return a.readAudit(c.Context(), &f, follow)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with records as they are written, until interrupted")
	c.Flags().BoolVar(&f.errors, "errors", false, "only calls that failed")
	c.Flags().StringVar(&f.key, "key-id", "", "only calls on this KEY")
	c.Flags().StringVar(&f.event, "event", "", "only calls of this operation, such as Decrypt")
	c.Flags().StringVar(&f.path, "path", "", "only calls for this file, or for what is below this directory")
	c.Flags().StringVar(&since, "since", "", "only calls from this time on: 90m, 24h, or 2026-01-31T12:00:00Z")
	c.Flags().IntVar(&f.last, "last", -1, "only the last N of them")
	c.AddCommand(newAuditVerifyCommand(a))
	return c
}

// parseSince reads a moment or a duration before now; "" is the zero time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usagef("--since %q is neither a duration such as 90m nor a time such as 2026-01-31T12:00:00Z", s)
	}
	return t, nil
}

// auditKey resolves an alias, for which the key service must be asked.
func (a *app) auditKey(ctx context.Context, key string) (string, error) {
	if !isAlias(key) {
		return key, nil
	}
	err := a.withKeys(ctx, func(s keyClient) error {
		meta, err := resolveKey(ctx, s, key)
		if err == nil {
			key = aws.ToString(meta.Arn)
		}
		return err
	})
	return key, err
}

// openTrail opens the trail of the state directory.
func (a *app) openTrail() (*audit.Reader, error) {
	dir := a.keyStateDir()
	r, err := audit.OpenReader(embedded.AuditPath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, failf(exitNotFound, "name another directory with --state-dir, or make a key service: kmsfs init BACKING",
			"no audit trail in %s", dir)
	}
	return r, err
}

// readAudit prints what passes the filter, then follows.
func (a *app) readAudit(ctx context.Context, f *auditFilter, follow bool) error {
	r, err := a.openTrail()
	if err != nil {
		return err
	}
	defer r.Close()
	records, err := f.read(r)
	if err != nil {
		return err
	}
	if !a.json {
		a.ui.Columns(auditColumns...)
	}
	for _, record := range records {
		if err := a.printRecord(record); err != nil {
			return err
		}
	}
	for follow {
		record, err := r.Follow(ctx)
		if ctx.Err() != nil {
			return nil // interrupted, as it was meant to be
		}
		if err == nil && f.matches(record) {
			err = a.printRecord(record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read collects the records that are there.
func (f *auditFilter) read(r *audit.Reader) ([]audit.Record, error) {
	var found []audit.Record
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		if !f.matches(record) {
			continue
		}
		found = append(found, record)
		if f.last >= 0 && len(found) > f.last {
			found = found[1:]
		}
	}
}

// auditColumns are the columns of kmsfs audit, with the widths of Columns.
var auditColumns = []column{{"TIME", 19}, {"EVENT", 20}, {"ERROR", 26}, {"PATH", 36}, {"KEY", 0}}

// printRecord prints a record as it stands in the trail, or as a row.
func (a *app) printRecord(r audit.Record) error {
	if a.json {
		return a.ui.Raw(append(r.Line, '\n'))
	}
	a.printAuditRow(viewOf(r.Event))
	return nil
}

func (a *app) printAuditRow(v auditView) {
	row := []string{localTime(v.Time), v.Event, orDash(v.Error), v.subject(), orDash(v.KeyID)}
	cells := make([]column, len(row))
	for i := range row {
		cells[i] = column{row[i], auditColumns[i].width}
	}
	a.ui.Columns(cells...)
}

func newAuditVerifyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "check that no record was edited, dropped or moved",
		Long: `Follows the chain of hashes from the first record to the last. Records cut off the end, and a chain
that somebody with write access has computed anew, cannot be seen here: compare with a copy.`,
		Args: needArgs(),
		RunE: func(*cobra.Command, []string) error {
			r, err := a.openTrail()
			if err != nil {
				return err
			}
			r.Close()
			report, err := audit.Verify(embedded.AuditPath(a.keyStateDir()))
			if err != nil {
				return err
			}
			return a.printReport(report)
		},
	}
}

// printReport tells the outcome of a verification; a broken chain is an error.
func (a *app) printReport(r *audit.Report) error {
	if a.json {
		problems := []map[string]any{}
		for _, p := range r.Problems {
			problems = append(problems, map[string]any{"line": p.Line, "reason": p.Reason})
		}
		err := a.ui.JSON(map[string]any{"ok": r.Intact(), "records": r.Records, "problems": problems, "unfinishedBytes": r.Unfinished})
		if err != nil || r.Intact() {
			return err
		}
	} else if r.Intact() {
		a.ui.Line("%d records, chain intact", r.Records)
		return nil
	}
	first := r.Problems[0]
	return failf(exitIntegrity, "keep the file as evidence and compare it with a copy",
		"audit trail %s: broken in %d places, first at line %d: %s", embedded.AuditPath(a.keyStateDir()),
		uint64(len(r.Problems))+r.More, first.Line, first.Reason)
}
