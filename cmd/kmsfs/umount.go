package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
)

func newUmountCommand(a *app) *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:     "umount MOUNTPOINT",
		Aliases: []string{"unmount"},
		Short:   "detach a volume",
		Long: `Returns when the daemon is gone: everything is written, every key is wiped, the grant is
retired. A mount whose daemon died is cleared away too.`,
		Args: needArgs("MOUNTPOINT"),
		RunE: func(c *cobra.Command, args []string) error {
			mountpoint, err := mountpointPath(args[0])
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			return a.umount(ctx, mountpoint)
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait for the daemon")
	return c
}

// umount asks the daemon; without one it clears a dead mount away.
func (a *app) umount(ctx context.Context, mountpoint string) error {
	client, err := control.Find(a.runtimeDir(), mountpoint)
	if errors.Is(err, &control.Error{Kind: control.KindNoDaemon}) {
		return a.umountWithoutDaemon(mountpoint)
	}
	if err != nil {
		return err
	}
	err = client.Unmount(ctx)
	if errors.Is(err, &control.Error{Kind: control.KindBusy}) {
		return busyError(ctx, client, mountpoint)
	}
	if err == nil && isMounted(mountpoint) {
		return a.umountWithoutDaemon(mountpoint) // it died before it could
	}
	return err
}

// busyError names files that keep a mount busy.
func busyError(ctx context.Context, client *control.Client, mountpoint string) error {
	e := failf(exitConflict, "find who uses it: fuser -vm "+mountpoint, "%s is in use", mountpoint)
	st, err := client.Status(ctx)
	if err != nil || len(st.Files) == 0 {
		return e
	}
	const most = 3
	var names []string
	for i, f := range st.Files {
		if i == most {
			names = append(names, "...")
			break
		}
		names = append(names, f.Path)
	}
	e.msg += ": open: " + strings.Join(names, ", ")
	return e
}

// umountWithoutDaemon detaches what the kernel still shows as our mount.
func (a *app) umountWithoutDaemon(mountpoint string) error {
	if !isMounted(mountpoint) {
		return failf(exitNotFound, "see what is mounted: kmsfs status", "no volume is mounted at %s", mountpoint)
	}
	if err := detachMount(mountpoint, false); err != nil {
		return err
	}
	a.ui.Note("%s had no daemon of yours; only the kernel's mount was removed", mountpoint)
	return nil
}

// detachMount removes a mount by umount(2) or, for those without the privilege, fusermount3. Lazy
// takes it out of the tree at once and leaves it to those who use it.
func detachMount(mountpoint string, lazy bool) error {
	flags, option := unix.UMOUNT_NOFOLLOW, "-u"
	if lazy {
		flags, option = flags|unix.MNT_DETACH, "-uz"
	}
	err := unix.Unmount(mountpoint, flags)
	if err == nil || !errors.Is(err, unix.EPERM) {
		return wrapUnmount(err, mountpoint)
	}
	out, err := exec.Command("fusermount3", option, mountpoint).CombinedOutput()
	if err == nil {
		return nil
	}
	if strings.Contains(string(out), "busy") {
		err = unix.EBUSY
	}
	return wrapUnmount(err, mountpoint)
}

// wrapUnmount gives a failed unmount its exit code.
func wrapUnmount(err error, mountpoint string) error {
	if err == nil {
		return nil
	}
	return &appError{msg: "unmount " + mountpoint, code: exitConflict, err: err,
		hints: []string{"find who uses it: fuser -vm " + mountpoint}}
}
