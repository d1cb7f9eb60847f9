package main

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// app is what the commands share: the terminal, the environment and the global flags.
type app struct {
	ui     *ui
	getenv func(string) string

	stateDir  string // --state-dir; "" selects the default
	pinSource string // --pin-source; "" selects what the state directory says
	remote    remote // --endpoint and what belongs to it
	auditSync string // --audit-sync; "" selects what the state directory says
	json      bool   // --json
}

// newApp makes an app for a process with these streams and environment.
func newApp(in *os.File, out, errOut io.Writer, getenv func(string) string) *app {
	return &app{ui: &ui{in: in, out: out, err: errOut}, getenv: getenv}
}

const rootLong = `kmsfs mounts a directory in which every file has its own data key. The data keys are
wrapped by a KMS key that stays in an HSM. Disable that key and the next open fails.

  kmsfs init ~/vault                make a volume (and on first use: a key service, a token, a key)
  kmsfs mount ~/vault ~/plain       attach it
  kmsfs umount ~/plain              detach it
  kmsfs lab key-disable             see what "disable the key" does, step by step

KEY is a key id, a key ARN, an alias (alias/NAME) or an alias ARN.`

// newRootCommand builds the command tree.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:               "kmsfs",
		Short:             "an encrypted filesystem with a KMS-wrapped data key for every file",
		Long:              rootLong,
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              unknownCommand,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		DisableAutoGenTag: true,
	}
	root.SetIn(a.ui.in)
	root.SetOut(a.ui.out)
	root.SetErr(a.ui.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usagef("%s: %v", c.CommandPath(), err) })
	a.addGlobalFlags(root)
	root.SuggestionsMinimumDistance = 2
	root.AddGroup(
		&cobra.Group{ID: "volume", Title: "Volumes:"},
		&cobra.Group{ID: "keys", Title: "Keys:"})
	addGroup(root, "volume", newInitCommand(a), newMountCommand(a), newUmountCommand(a), newStatusCommand(a),
		newLsCommand(a), newCatCommand(a), newCpCommand(a), newFsckCommand(a), newInfoCommand(a), newLedgerCommand(a),
		newRewrapCommand(a), newRekeyCommand(a),
		newRecoverCommand(a), newLabCommand(a))
	addGroup(root, "keys", newKeyCommand(a), newAliasCommand(a), newGrantCommand(a), newTagCommand(a), newStoreCommand(a), newAuditCommand(a),
		newServeCommand(a), newPrincipalCommand(a), newStateCommand(a), newXKSProxyCommand(a))
	root.AddCommand(newVersionCommand(a))
	return root
}

// addGroup adds commands under one heading of the help text.
func addGroup(root *cobra.Command, id string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// addGlobalFlags defines the flags that every command takes.
func (a *app) addGlobalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.stateDir, "state-dir", "", "directory of the key service (default $KMSFS_STATE_DIR, else /var/lib/kmsfs for root, else $XDG_DATA_HOME/kmsfs)")
	f.StringVar(&a.pinSource, "pin-source", "", "where the HSM PIN comes from: prompt, file:PATH, env:NAME or cmd:COMMAND (default what the state directory was made with)")
	f.StringVar(&a.auditSync, "audit-sync", "", "when audit records are on the disk: second (within one) or always (before the answer)")
	f.BoolVar(&a.json, "json", false, "print the result as JSON")
}

// unknownCommand refuses arguments of a command that only has subcommands.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := failf(exitUsage, "run "+c.CommandPath()+" --help", "%s has no command %q", c.CommandPath(), args[0])
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		e.hints = []string{"did you mean " + c.CommandPath() + " " + strings.Join(near, " or ") + "?"}
	}
	return e
}

// newParent makes a command that only has subcommands.
func newParent(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: unknownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.SuggestionsMinimumDistance = 2
	c.AddCommand(children...)
	return c
}

// needArgs accepts exactly the named arguments and says which one is missing.
func needArgs(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("%s: %s is missing", c.CommandPath(), names[len(args)])
		}
		if len(args) > len(names) {
			return usagef("%s: unexpected argument %q", c.CommandPath(), args[len(names)])
		}
		return nil
	}
}

// needSome accepts one or more arguments.
func needSome(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("%s: %s is missing", c.CommandPath(), name)
		}
		return nil
	}
}

// each runs f for every argument, goes on after failures, and returns them all.
func each(args []string, f func(string) error) error {
	var errs []error
	for _, arg := range args {
		if err := f(arg); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}
