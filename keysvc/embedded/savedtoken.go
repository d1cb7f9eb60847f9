package embedded

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// SoftHSM empties and rewrites token.object at each login. A process that is killed in between leaves
// it empty, and with it the PINs and every key are gone for good. So a copy is kept: but for a counter of
// the logins, it changes only with the token's PINs.
const (
	tokenObject = "token.object"
	savedSuffix = ".saved"
)

// tokenObjects lists the token.object of each SoftHSM token in dir; o.lock is held.
func tokenObjects(dir string) []string {
	names, _ := fs.Glob(os.DirFS(dir), "tokens/*/"+tokenObject) // the pattern is right, and dir is no part of it
	for i, name := range names {
		names[i] = filepath.Join(dir, name)
	}
	return names
}

// savedName is where the copy of a token.object is: beside the tokens, where SoftHSM does not look.
func savedName(dir, object string) string {
	return filepath.Join(dir, filepath.Base(filepath.Dir(object))+savedSuffix)
}

// restoreTokenObjects puts the saved copy in the place of a token.object that a kill has emptied or cut
// off. No login is under way: o.lock is held.
func restoreTokenObjects(dir string) error {
	for _, object := range tokenObjects(dir) {
		saved, err := os.ReadFile(savedName(dir, object))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return unreadable(dir, err)
		}
		info, err := os.Stat(object)
		if err == nil && info.Size() < int64(len(saved)) {
			err = writeFile(object, saved)
		}
		if err != nil {
			return unreadable(dir, err)
		}
	}
	return nil
}

// counterSize is the length of the counter that a token.object begins with.
const counterSize = 8

// sameToken tells whether two contents of a token.object differ in the counter at most.
func sameToken(a, b []byte) bool {
	return len(a) == len(b) && len(a) >= counterSize && bytes.Equal(a[counterSize:], b[counterSize:])
}

// saveTokenObjects keeps copies of what a login has just used. One that is shorter than its copy isn't
// whole: another process is logging in again this moment, or the device had no room for it.
func saveTokenObjects(dir string) error {
	for _, object := range tokenObjects(dir) {
		content, err := os.ReadFile(object)
		if err != nil {
			return unreadable(dir, err)
		}
		name := savedName(dir, object)
		if old, err := os.ReadFile(name); err == nil && (sameToken(old, content) || len(content) < len(old)) {
			continue
		}
		if err := writeFile(name, content); err != nil {
			return unreadable(dir, err)
		}
	}
	return nil
}
