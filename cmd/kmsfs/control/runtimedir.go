package control

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// RuntimeDir names the directory of the sockets: /run/kmsfs for root, $XDG_RUNTIME_DIR/kmsfs, else
// a directory of the user's own under the system's temporary directory.
func RuntimeDir(getenv func(string) string, uid int) string {
	if d := getenv("KMSFS_RUNTIME_DIR"); d != "" {
		return d
	}
	if uid == 0 {
		return "/run/kmsfs"
	}
	if d := getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "kmsfs")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("kmsfs-%d", uid))
}

// ensureDir makes dir with mode 0700. An existing one must be a directory of this user that nobody
// else can enter: in a shared temporary directory its name may have been taken by somebody else.
func ensureDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &Error{Op: "make runtime directory", Path: dir, Kind: KindDir, Err: err}
	}
	return checkDir(dir)
}

// checkDir refuses a runtime directory that others could have prepared.
func checkDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return &Error{Op: "use runtime directory", Path: dir, Kind: KindDir, Err: err}
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || !ok || int(st.Uid) != os.Geteuid() {
		return &Error{Op: "use runtime directory", Path: dir, Kind: KindDir, Err: fs.ErrPermission,
			Help: "it must be a directory of your own with mode 0700; remove it, or set KMSFS_RUNTIME_DIR"}
	}
	return nil
}

// socketPath is the socket for a mount point. Socket names are limited to 107 bytes, paths are not,
// so the name is a digest.
func socketPath(dir, mountpoint string) string {
	sum := sha256.Sum256([]byte(mountpoint))
	return filepath.Join(dir, hex.EncodeToString(sum[:10])+".sock")
}

// lockPath is the file whose lock a living daemon holds.
func lockPath(socket string) string { return socket[:len(socket)-len(".sock")] + ".lock" }
