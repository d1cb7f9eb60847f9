package fs

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// MountOptions says how a volume is mounted.
type MountOptions struct {
	Backing            string
	Mountpoint         string
	Keys               KeyService
	AllowOther         bool     // let other users in; the kernel then needs DefaultPermissions
	DefaultPermissions bool     // let the kernel check modes and owners; implied but for root alone
	ReadOnly           bool     // never change the backing directory
	NoWriteback        bool     // do not let the kernel delay writes
	LedgerDir          string   // where the ledgers of volumes are; none when empty
	Debug              bool     // log every FUSE request
	FuseOptions        []string // further mount options for the kernel, such as noexec
	FSName             string   // shown as the mounted device; the backing directory when empty
	Logger             *slog.Logger

	// Principal tells the ARN of the caller of Keys, to which the mount's grants are made; "" is the root of
	// the key's account, as is no function. It is asked once the key service has answered.
	Principal func(context.Context) string

	acceptStore bool            // the ledger learns anew; for offline use
	shared      bool            // see volume.shared
	recovery    *RecoverySource // see volume.source
	badLog      func(error)     // is told of a damaged rename log, in whose place an empty one is used; nil: it is an error
}

// check refuses a mount point that cannot be used and fills defaults.
func (o *MountOptions) check() error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FSName == "" {
		o.FSName = absolute(o.Backing)
	}
	o.Mountpoint = absolute(o.Mountpoint)
	st, err := os.Stat(o.Mountpoint)
	switch {
	case errors.Is(err, syscall.ENOTCONN):
		return badMountpoint(o.Mountpoint, err, "a dead mount is left there: fusermount3 -u "+o.Mountpoint)
	case errors.Is(err, os.ErrNotExist):
		return badMountpoint(o.Mountpoint, errors.New("the mount point does not exist"), "make it first: mkdir -p "+o.Mountpoint)
	case err != nil:
		return badMountpoint(o.Mountpoint, err, "")
	case !st.IsDir():
		return badMountpoint(o.Mountpoint, errors.New("the mount point is not a directory"), "name a directory")
	}
	return o.checkOverlap()
}

func badMountpoint(path string, cause error, hint string) error {
	return &Error{Op: "mount on", Kind: KindBadMountpoint, Path: path, Err: cause, hint: hint}
}

// checkOverlap refuses a mount point inside the backing directory, or the other way round: the
// daemon would wait for itself.
func (o *MountOptions) checkOverlap() error {
	back, mnt := resolved(o.Backing)+"/", resolved(o.Mountpoint)+"/"
	if strings.HasPrefix(mnt, back) || strings.HasPrefix(back, mnt) {
		return badMountpoint(o.Mountpoint, errors.New("mount point and backing directory overlap"), "mount outside of "+o.Backing)
	}
	return nil
}

// resolved is the absolute path without symbolic links, as far as it exists.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(absolute(path)); err == nil {
		return real
	}
	return absolute(path)
}

// workers is how many goroutines encrypt one large request.
func (o *MountOptions) workers() int { return min(runtime.GOMAXPROCS(0), 8) }

// atomicTruncate would spare a request for each open(2) with O_TRUNC. The kernel then sets the size
// to 0 twice: with the answer to OPEN and once more afterwards, under another hold of the inode's
// lock. What another process truncates or appends in between reaches this filesystem and is lost
// from the kernel's view, which with its writeback cache is never corrected.
const atomicTruncate = fuse.CAP_ATOMIC_O_TRUNC

// maxRequest is the largest FUSE request in bytes; the kernel may grant less.
const maxRequest = 1 << 20

func (o *MountOptions) fuseOptions(s *fileSystem) *fuse.MountOptions {
	caps := uint64(fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_READDIRPLUS_AUTO |
		fuse.CAP_ASYNC_DIO | fuse.CAP_DIRECT_IO_ALLOW_MMAP | fuse.CAP_SETXATTR_EXT | fuse.CAP_PARALLEL_DIROPS)
	if s.writeback {
		caps |= fuse.CAP_WRITEBACK_CACHE
	}
	return &fuse.MountOptions{
		Name: "kmsfs", FsName: o.FSName, AllowOther: o.AllowOther, Options: o.kernelOptions(),
		MaxWrite: maxRequest, MaxBackground: 128, DisableSplice: true, Debug: o.Debug,
		ExplicitDataCacheControl: true, EnableSymlinkCaching: true,
		ExtraCapabilities: caps, DisabledCapabilities: fuse.CAP_PASSTHROUGH | atomicTruncate,
		DirectMount: os.Geteuid() == 0, DirectMountFlags: o.directFlags(),
		Logger: log.New(logWriter{o.Logger}, "", 0),
	}
}

// kernelOptions are the options that both fusermount3 and mount(2) take as strings.
func (o *MountOptions) kernelOptions() []string {
	var out []string
	if o.DefaultPermissions || o.AllowOther || os.Geteuid() != 0 {
		out = append(out, "default_permissions")
	}
	for _, opt := range o.FuseOptions {
		if os.Geteuid() != 0 || directFlag[opt] == 0 {
			out = append(out, opt)
		}
	}
	if o.ReadOnly && os.Geteuid() != 0 {
		out = append(out, "ro")
	}
	return out
}

// directFlag maps option words to flags of mount(2), which root uses without fusermount3.
var directFlag = map[string]uintptr{
	"ro": unix.MS_RDONLY, "noexec": unix.MS_NOEXEC, "noatime": unix.MS_NOATIME, "sync": unix.MS_SYNCHRONOUS,
	"dirsync": unix.MS_DIRSYNC,
}

func (o *MountOptions) directFlags() uintptr {
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if o.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	for _, opt := range o.FuseOptions {
		flags |= directFlag[opt]
		switch opt {
		case "suid":
			flags &^= unix.MS_NOSUID
		case "dev":
			flags &^= unix.MS_NODEV
		}
	}
	return flags
}

// mountError explains what the kernel or fusermount3 said.
func mountError(mountpoint string, err error) error {
	e := &Error{Op: "mount on", Kind: KindMount, Path: mountpoint, Err: err}
	switch {
	case errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "executable file not found"):
		e.hint = "install FUSE: apt install fuse3, and check that /dev/fuse exists"
	case errors.Is(err, os.ErrPermission) || strings.Contains(err.Error(), "allow_other"):
		e.hint = "as an ordinary user you need fusermount3, a mount point of your own, and user_allow_other in /etc/fuse.conf for allow_other"
	}
	return e
}

// logWriter passes go-fuse's own lines to the logger.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.Debug(strings.TrimSpace(string(p)), "from", "fuse")
	return len(p), nil
}

// tuneReadahead asks the kernel for larger read requests and lets the mount hold more dirty data;
// only root may, and without it the mount is slower, not wrong.
func tuneReadahead(mountpoint string) {
	var st unix.Stat_t
	if os.Geteuid() != 0 || unix.Stat(mountpoint, &st) != nil {
		return
	}
	dir := fmt.Sprintf("/sys/class/bdi/%d:%d/", unix.Major(st.Dev), unix.Minor(st.Dev))
	for name, value := range map[string]int{"read_ahead_kb": 4096, "strict_limit": 0, "max_ratio": 100} {
		_ = os.WriteFile(dir+name, []byte(strconv.Itoa(value)), 0o644)
	}
}
