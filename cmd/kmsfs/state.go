package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kmsfs/kmsfs/keysvc/embedded"
	"github.com/kmsfs/kmsfs/keysvc/embedded/archive"
)

func newStateCommand(a *app) *cobra.Command {
	return newParent("state", "back up and restore the key service",
		newStateBackupCommand(a), newStateRestoreCommand(a))
}

func newStateBackupCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "write a copy of the key service into a file",
		Long: `Writes the state directory as it is at one moment into a tar archive: configuration, keys' state,
principals and, of a SoftHSM token, the keys themselves. Mounts and services go on meanwhile. With - as
FILE it goes to standard output, to be encrypted for instance. The audit trail, logs and ledgers are not
in it, nor what is in a hardware token or a database.

Whoever has the archive and the PIN, which is in it unless it comes from elsewhere, can decrypt
everything.`,
		Example: `  kmsfs state backup /media/stick/kmsfs.tar
  kmsfs state backup - | age -r age1... > kmsfs.tar.age`,
		Args: needArgs("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			var m *archive.Manifest
			err := a.writeTo(c.Context(), args[0], func(w io.Writer) (err error) {
				m, err = embedded.Backup(c.Context(), embedded.Options{Dir: a.keyStateDir()}, w)
				return err
			})
			if err != nil || args[0] == "-" {
				return orInterrupted(c.Context(), err)
			}
			return a.printBackup(m, args[0])
		},
	}
}

// writeTo makes a new file that is its owner's alone and has write fill it, or standard output for "-".
// After an error there is no file.
func (a *app) writeTo(ctx context.Context, path string, write func(io.Writer) error) error {
	if path == "-" {
		if f, ok := a.ui.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return failf(exitUsage, "name a file, or send it on: kmsfs state backup - | ...", "the archive is not text for a terminal")
		}
		signal.Ignore(syscall.SIGPIPE) // a reader that ends must not keep write from tidying up
		defer signal.Reset(syscall.SIGPIPE)
		return write(interruptible{ctx: ctx, Writer: a.ui.out})
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return failf(exitConflict, "choose another name, or remove it first", "%s exists already", path)
	}
	if err != nil {
		return err
	}
	if err = errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// orInterrupted says of what failed after a signal that it was interrupted: it left nothing.
func orInterrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return &appError{code: exitFailure, msg: "interrupted"}
	}
	return err
}

func (a *app) printBackup(m *archive.Manifest, path string) error {
	if a.json {
		return a.ui.JSON(m)
	}
	a.ui.Line("%d files, %d bytes, in %s", len(m.Files), m.Size(), path)
	switch {
	case m.Has("pin"):
		a.ui.Line("It holds the keys and the PIN: whoever has it can decrypt everything.")
	case m.Has("token"):
		a.ui.Line("It holds the keys, encrypted under the PIN, which is not in it.")
	default:
		a.ui.Line("The keys are in a token of their own and not in it.")
	}
	if !m.Has("keys.db") {
		a.ui.Line("The keys' state is in a database and not in it.")
	}
	return nil
}

func newStateRestoreCommand(a *app) *cobra.Command {
	var postgres string
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "make a state directory of a backup",
		Long: `Makes the state directory, which must be empty or not be there, of an archive of kmsfs state backup; - is
standard input. Keys are in the state that they had then: one that was disabled or deleted since is
enabled again, and one that was made since is lost, with all that is encrypted under it. The audit trail
begins anew. With --postgres the keys' state goes to that database, which must be empty: that is how a key
service moves from SQLite to PostgreSQL.`,
		Args: needArgs("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			var from io.Reader = interruptible{ctx: c.Context(), Reader: a.ui.in}
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				from = f
			}
			m, err := embedded.Restore(c.Context(), embedded.Options{Dir: a.keyStateDir(), Postgres: postgres}, from)
			if err != nil {
				return orInterrupted(c.Context(), wrapf(err, "restore %s", args[0]))
			}
			if a.json {
				return a.ui.JSON(m)
			}
			a.ui.Line("restored %s as it was on %s", a.keyStateDir(), localTime(m.Created))
			return nil
		},
	}
	c.Flags().StringVar(&postgres, "postgres", "", "connection string, without a password, of an empty PostgreSQL database for the keys' state")
	return c
}
