package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs"
)

const mountLong = `Attaches a volume: unwraps its key, makes a grant for this mount and serves the files at
MOUNTPOINT, which is made if only its last component is missing. The command returns when the mount is ready and leaves a daemon behind; its log is
STATE-DIR/log/VOLUME.log. With -f it stays in the foreground and logs to standard error.

Options of -o: allow_other (implies default_permissions), default_permissions, ro, debug, noledger (do
not remember what the store was like, see kmsfs ledger), state_dir=DIR, pin_source=SOURCE, endpoint=URL,
ca=FILE, profile=NAME, key_wait=SECONDS, and the usual nosuid, nodev, noexec, noatime.

fstab:  /data/vault  /data/plain  fuse.kmsfs  allow_other,nofail  0 0`

// mountRequest is one mount, decided.
type mountRequest struct {
	backing, mountpoint string // absolute
	foreground          bool
	options             mountOptions
}

func newMountCommand(a *app) *cobra.Command {
	var lists []string
	var foreground bool
	c := &cobra.Command{
		Use:   "mount [-o OPTS] [-f] [--endpoint URL] BACKING MOUNTPOINT",
		Short: "attach a volume",
		Long:  mountLong,
		Example: `  kmsfs mount ~/vault ~/plain
  kmsfs mount -o ro,allow_other /data/vault /data/plain`,
		Args: needArgs("BACKING", "MOUNTPOINT"),
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := parseMountOptions(lists)
			if err != nil {
				return err
			}
			a.takeMountOptions(opts)
			m := mountRequest{foreground: foreground, options: opts}
			if m.backing, err = filepath.Abs(args[0]); err != nil {
				return err
			}
			if m.mountpoint, err = mountpointPath(args[1]); err != nil {
				return err
			}
			return a.mount(c.Context(), m)
		},
	}
	c.Flags().StringArrayVarP(&lists, "options", "o", nil, "mount options, separated by commas")
	a.addEndpointFlag(c.Flags())
	c.Flags().BoolVarP(&foreground, "foreground", "f", false, "stay in the foreground and log to standard error")
	return c
}

// takeMountOptions lets -o stand in for global flags that are not given.
func (a *app) takeMountOptions(o mountOptions) {
	if a.stateDir == "" {
		a.stateDir = o.stateDir
	}
	if a.pinSource == "" {
		a.pinSource = o.pinSource
	}
	r, opt := &a.remote, &o.remote
	*r = remote{cmp.Or(r.endpoint, opt.endpoint), cmp.Or(r.ca, opt.ca), cmp.Or(r.profile, opt.profile), opt.wait}
}

// mount checks what can be checked without a key, then serves or spawns the daemon.
func (a *app) mount(ctx context.Context, m mountRequest) error {
	if pipe := readyPipe(a.getenv); pipe != nil {
		return a.serveAsDaemon(ctx, m, pipe)
	}
	volume, err := fs.ReadVolumeInfo(m.backing)
	if err != nil {
		return err
	}
	if err := checkMountpoint(m); err != nil {
		return err
	}
	made := os.Mkdir(m.mountpoint, 0o700) == nil // in a directory that exists, as the first mount wants it
	if m.foreground {
		err = a.serveForeground(ctx, m)
	} else {
		err = a.spawnDaemon(ctx, volume.ID)
	}
	if err != nil && made {
		return errors.Join(err, os.Remove(m.mountpoint))
	}
	return err
}

// checkMountpoint refuses what fs.Mount cannot explain: a mount on top of a mount, and a machine
// without a usable FUSE device, of which fusermount3 tells the terminal only.
func checkMountpoint(m mountRequest) error {
	switch err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); {
	case errors.Is(err, unix.ENOENT):
		return failf(exitFailure, "load it as root: modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN",
			"/dev/fuse does not exist")
	case err != nil:
		return failf(exitFailure, "as root: chmod 666 /dev/fuse, as udev does it", "/dev/fuse cannot be used by this user: %v", err)
	}
	if isMounted(m.mountpoint) {
		return failf(exitConflict, "unmount it first: kmsfs umount "+m.mountpoint,
			"mount point %s has a volume mounted already", m.mountpoint)
	}
	return nil
}

// mountpointPath is the absolute path of a mount point without symbolic links in its parents. The
// last component is not touched: asking a dead mount for its type fails.
func mountpointPath(arg string) (string, error) {
	abs, err := filepath.Abs(arg)
	if err != nil {
		return "", err
	}
	if full, err := filepath.EvalSymlinks(abs); err == nil {
		return full, nil
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", failf(exitNotFound, "make it first: mkdir -p "+abs, "mount point %s does not exist", abs)
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}
