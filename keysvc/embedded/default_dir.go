package embedded

import "path/filepath"

// DefaultDir is the state directory of a user who names none:
// $KMSFS_STATE_DIR, else /var/lib/kmsfs for root, else
// $XDG_DATA_HOME/kmsfs, else ~/.local/share/kmsfs.
func DefaultDir(getenv func(string) string, uid int, home string) string {
	if dir := getenv("KMSFS_STATE_DIR"); dir != "" {
		return dir
	}
	if uid == 0 {
		return "/var/lib/kmsfs"
	}
	// The XDG specification has relative paths ignored.
	if data := getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "kmsfs")
	}
	return filepath.Join(home, ".local", "share", "kmsfs")
}
