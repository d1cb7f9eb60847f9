package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

const labKeyDisableLong = `Runs the scenario that AWS documents for EBS volumes, on a throwaway volume, against a real mount:

  1. a volume is created under a KMS key; the wrapped data key is stored with the data
  2. the volume is in use: the data key is held, reads and writes go on
  3. the KMS key is disabled: what is in use does not notice
  4. it is closed, the data key is gone, and the next open fails until the KMS key is enabled

Each step shows its evidence and fails loudly if it is not what it should be. The commands that the
lab runs are printed, so that they can be typed by hand. Volume, key service and mount live in a
temporary directory that is removed at the end; with --state-dir the lab uses that key service
instead, and schedules its key for deletion.`

func newLabCommand(a *app) *cobra.Command {
	return newParent("lab", "see for yourself how keys and files behave", newLabKeyDisableCommand(a))
}

func newLabKeyDisableCommand(a *app) *cobra.Command {
	var explain bool
	c := &cobra.Command{
		Use:   "key-disable [--explain] [--json]",
		Short: "what happens to an encrypted volume when its key is disabled",
		Long:  labKeyDisableLong,
		Args:  needArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := newLab(a, explain)
			if err != nil {
				return err
			}
			err = l.run(c.Context())
			return errors.Join(err, l.cleanup())
		},
	}
	c.Flags().BoolVar(&explain, "explain", false, "tell what EBS does at each step")
	return c
}

// lab is one run of the scenario. It works through the same binary and the same commands as a user.
type lab struct {
	app     *app
	explain bool

	dir      string // everything that is removed at the end
	stateDir string
	borrowed bool // stateDir is the user's own
	vault    string
	plain    string
	report   labReport

	volume string   // id, from init
	keyARN string   // from init
	file   *os.File // the file that is in use in steps 2 to 4
}

// labReport is what --json prints.
type labReport struct {
	Volume string      `json:"volume"`
	KeyARN string      `json:"keyArn"`
	Steps  []labStep   `json:"steps"`
	Audit  []auditView `json:"audit"`
	OK     bool        `json:"ok"`
}

// labStep is one step with what it showed.
type labStep struct {
	Number   int           `json:"step"`
	Title    string        `json:"title"`
	EBS      string        `json:"ebs"`
	Evidence []labEvidence `json:"evidence"`
}

// labEvidence is a command that was run, or a fact that was seen.
type labEvidence struct {
	Command string `json:"command,omitempty"`
	Fact    string `json:"fact,omitempty"`
	Value   string `json:"value,omitempty"`
}

// newLab makes the directories.
func newLab(a *app, explain bool) (*lab, error) {
	dir, err := os.MkdirTemp("", "kmsfs-lab-")
	if err != nil {
		return nil, err
	}
	l := &lab{
		app: a, explain: explain, dir: dir, stateDir: filepath.Join(dir, "state"),
		vault: filepath.Join(dir, "vault"), plain: filepath.Join(dir, "plain"),
	}
	if a.stateDir != "" {
		l.stateDir, l.borrowed = a.stateDir, true
	}
	return l, os.Mkdir(l.plain, 0o700)
}

// run does the steps in order and stops at the first that does not show what it must.
func (l *lab) run(ctx context.Context) error {
	l.say("# everything below happens in %s", l.dir)
	l.say("$ export KMSFS_STATE_DIR=%s", l.stateDir)
	steps := []func(context.Context) error{l.create, l.use, l.disable, l.reopen, l.readAudit}
	for i, step := range steps {
		if i < len(labTexts) {
			l.begin(i + 1)
		}
		if err := step(ctx); err != nil {
			return wrapf(err, "lab step %d", i+1)
		}
	}
	l.report.OK = true
	if l.app.json {
		return l.app.ui.JSON(l.report)
	}
	l.say("\nAll four steps went as they must. Unmounting and removing %s.", l.dir)
	return nil
}

// begin starts a step of the report.
func (l *lab) begin(number int) {
	t := labTexts[number-1]
	l.report.Steps = append(l.report.Steps, labStep{Number: number, Title: t.title, EBS: t.ebs})
	l.say("\n%d. %s", number, t.title)
	if l.explain {
		l.say("   AWS: %s", t.ebs)
	}
}

// saw adds a fact to the current step.
func (l *lab) saw(fact, value string) {
	l.evidence(labEvidence{Fact: fact, Value: value})
	l.say("   %s: %s", fact, value)
}

func (l *lab) evidence(e labEvidence) {
	if n := len(l.report.Steps); n > 0 {
		l.report.Steps[n-1].Evidence = append(l.report.Steps[n-1].Evidence, e)
	}
}

// say prints a line unless the output is JSON.
func (l *lab) say(format string, args ...any) {
	if !l.app.json {
		l.app.ui.Line(format, args...)
	}
}

// cleanup leaves nothing behind, also after a failure or an interrupt. It never removes a tree with
// a live mount in it.
func (l *lab) cleanup() error {
	ctx := context.Background()
	if l.file != nil {
		l.file.Close()
	}
	if len(mountsAt(l.plain)) > 0 {
		if _, err := l.run1(ctx, []string{"umount", l.plain}); err != nil {
			return err
		}
	}
	if l.borrowed && l.volume != "" {
		if err := l.dropKey(ctx); err != nil {
			return err
		}
	}
	return os.RemoveAll(l.dir)
}

// dropKey schedules the key in a key service that is not the lab's own.
func (l *lab) dropKey(ctx context.Context) error {
	_, err := l.run1(ctx, []string{"key", "schedule-deletion", "--days", "7", l.keyARN})
	if err == nil {
		_, err = l.run1(ctx, []string{"alias", "delete", "alias/" + l.volume})
	}
	return err
}
