package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kmsfs/kmsfs/fs"
)

func TestEveryCommandAndFlagIsInTheManual(t *testing.T) {
	manual, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(manual)
	root := newRootCommand(newApp(os.Stdin, io.Discard, io.Discard, os.Getenv))
	root.InitDefaultCompletionCmd()
	walkCommands(root, func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s has no description", c.CommandPath())
		}
		if c.HasSubCommands() || generated(c) {
			return
		}
		if !strings.Contains(text, c.CommandPath()) {
			t.Errorf("%s is not in docs/cli.md", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(text, "--"+f.Name) && f.Name != "help" {
				t.Errorf("--%s of %s is not in docs/cli.md", f.Name, c.CommandPath())
			}
		})
	})
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(text, "--"+f.Name) {
			t.Errorf("--%s is not in docs/cli.md", f.Name)
		}
	})
}

// generated reports commands that cobra adds.
func generated(c *cobra.Command) bool {
	return strings.HasPrefix(c.CommandPath(), "kmsfs completion") || c.Name() == "help"
}

func walkCommands(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, child := range c.Commands() {
		walkCommands(child, f)
	}
}

func TestEveryExitCodeIsInTheManual(t *testing.T) {
	manual, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	for code := exitOK; code <= exitIntegrity; code++ {
		if row := "| " + string(rune('0'+code)) + " | "; !strings.Contains(string(manual), row) {
			t.Errorf("exit code %d is not in docs/exit-codes.md", code)
		}
	}
}

func TestEveryFaultOfFsckIsInTheManual(t *testing.T) {
	manual, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	for code, meaning := range fs.FaultCodes() {
		class, what, _ := strings.Cut(meaning, ": ")
		if row := "| `" + string(code) + "` | " + class + " | " + what + " | "; !strings.Contains(string(manual), row) {
			t.Errorf("%s is not in docs/cli.md as %s", code, row)
		}
	}
}
