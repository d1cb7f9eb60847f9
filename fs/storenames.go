package fs

import (
	"strings"
	"syscall"

	"github.com/kmsfs/kmsfs/envelope"
)

// Names that this package keeps in the store. Encrypted names are base64url and never hold a dot;
// with plaintext names, a user's name that begins with ownPrefix is escaped.
const (
	ownPrefix      = "kmsfs."
	escapePrefix   = "kmsfs.esc-"
	volumeName     = "kmsfs.volume"  // the volume file, in the root
	dirLink        = "kmsfs.dir"     // a directory's identity, a symbolic link
	dirLinkNew     = "kmsfs.dir.new" // the same for the place that it is being moved to
	dirLinkLog     = "kmsfs.dir.log" // which entry of the rename log that move has, a symbolic link
	longNameSuffix = ".name"         // beside a long name: a symbolic link to the whole encrypted name
	tempPrefix     = "kmsfs.tmp-"    // being made; renamed to its final name
	movedPrefix    = "kmsfs.moved."  // a symbolic link for a place that another is being renamed to
	lostPrefix     = "kmsfs.lost-"   // what is left of a file that was never synced before a crash
	slotsAttr      = "user.kmsfs.slots"
	dirAttr        = "user.kmsfs.dir" // copy of dirLink in a directory that is being removed
	hintAttr       = "user.kmsfs.hint"
	xattrPrefix    = "user.kmsfs.x."
)

// maxName is the longest plaintext name, as on other Linux filesystems.
const maxName = 255

// storedName is a name as the store has it. long is the whole encrypted name when it did not fit
// and name is its digest.
type storedName struct{ name, long string }

// storeName returns the name in the store of a plaintext name in the directory dir.
func (v *volume) storeName(dir envelope.DirID, name string) (storedName, error) {
	if len(name) > maxName {
		return storedName{}, syscall.ENAMETOOLONG
	}
	if v.info.PlaintextNames {
		return escapeName(name)
	}
	enc := v.crypto.EncryptName(dir, name)
	if len(enc) > maxName {
		return storedName{name: envelope.LongName(enc), long: enc}, nil
	}
	return storedName{name: enc}, nil
}

func escapeName(name string) (storedName, error) {
	if !strings.HasPrefix(name, ownPrefix) {
		return storedName{name: name}, nil
	}
	name = escapePrefix + name[len(ownPrefix):]
	if len(name) > maxName {
		return storedName{}, syscall.ENAMETOOLONG
	}
	return storedName{name: name}, nil
}

// plainName returns the plaintext of a name in the store. readlink resolves a long name. ok is
// false for this package's own names.
func (v *volume) plainName(dir envelope.DirID, store string, readlink func(string) (string, error)) (name string, ok bool, err error) {
	if v.info.PlaintextNames {
		if rest, esc := strings.CutPrefix(store, escapePrefix); esc {
			return ownPrefix + rest, true, nil
		}
		return store, !strings.HasPrefix(store, ownPrefix), nil
	}
	if strings.HasPrefix(store, longPrefix) {
		return v.plainLongName(dir, store, readlink)
	}
	if strings.HasPrefix(store, ownPrefix) {
		return "", false, nil
	}
	name, err = v.crypto.DecryptName(dir, store)
	return name, err == nil, err
}

// longPrefix begins the digest of a long name.
const longPrefix = "kmsfs.long."

func (v *volume) plainLongName(dir envelope.DirID, store string, readlink func(string) (string, error)) (string, bool, error) {
	if strings.HasSuffix(store, longNameSuffix) {
		return "", false, nil
	}
	enc, err := readlink(store + longNameSuffix)
	if err != nil {
		return "", false, err
	}
	if envelope.LongName(enc) != store {
		return "", false, rejected("read directory", "", "long name does not belong to its digest")
	}
	name, err := v.crypto.DecryptName(dir, enc)
	return name, err == nil, err
}
