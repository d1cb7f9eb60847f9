package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	os.Exit(run(os.Args, newApp(os.Stdin, os.Stdout, os.Stderr, os.Getenv)))
}

// run executes the command line in argv and returns the exit code.
func run(argv []string, a *app) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	a.ui.interrupted = ctx.Done()
	args := argv[1:]
	helper := isMountHelper(argv)
	if helper {
		args = helperArgs(args)
	}
	root := newRootCommand(a)
	root.SetArgs(args)
	ran, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	a.ui.Fail(err)
	switch {
	case helper:
		return helperExitCode(err)
	case ran != nil && ran.Name() == "fsck":
		return fsckExitCode(err)
	}
	return exitCode(err)
}

// isMountHelper reports whether mount(8) started this process: as mount.fuse.kmsfs, or through
// mount.fuse, which runs "kmsfs SOURCE DIRECTORY -o OPTIONS" without a command name.
func isMountHelper(argv []string) bool {
	if strings.HasPrefix(filepath.Base(argv[0]), "mount.") {
		return true
	}
	return len(argv) >= 3 && strings.ContainsRune(argv[1], filepath.Separator)
}
