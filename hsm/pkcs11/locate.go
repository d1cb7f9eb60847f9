package pkcs11

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/kmsfs/kmsfs/hsm"
)

// softHSMPlaces are where distributions install SoftHSM's module, as patterns:
// Debian and Ubuntu, Fedora and RHEL, Arch, Alpine, openSUSE, source builds,
// Homebrew.
var softHSMPlaces = [...]string{
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib/*/softhsm/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/lib/pkcs11/libsofthsm2.so",
	"/usr/lib/*/pkcs11/libsofthsm2.so",
	"/usr/lib64/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/usr/local/lib64/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// FindSoftHSM returns the path of the installed SoftHSM module. KindModule with a
// hint if there is none.
func FindSoftHSM() (string, error) { return firstExisting(softHSMPlaces[:]) }

func firstExisting(patterns []string) (string, error) {
	for _, p := range patterns {
		matches, err := filepath.Glob(p)
		if err != nil {
			continue // only malformed patterns fail, and these are constants
		}
		for _, path := range matches {
			if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
				return path, nil
			}
		}
	}
	return "", &hsm.Error{Op: "FindSoftHSM", Kind: hsm.KindModule,
		Err:  errors.New("the SoftHSM module (libsofthsm2.so) is not installed in any of the usual places"),
		Help: "apt install softhsm2 (dnf install softhsm, apk add softhsm), or name another PKCS#11 module"}
}
