package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	manifestName = "kmsfs-state.json"
	version      = 1
	maxManifest  = 64 << 20 // bytes
)

// ErrDamaged is the cause of errors about an archive that isn't one, or not whole.
var ErrDamaged = errors.New("not a whole backup of a state directory")

// Manifest says what is in an archive.
type Manifest struct {
	Version int       `json:"version"`
	Created time.Time `json:"created"`
	Files   []File    `json:"files"`
}

// File is one file of an archive.
type File struct {
	Name   string `json:"name"` // relative, with slashes
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Size is the sum of the files' sizes, in bytes.
func (m *Manifest) Size() int64 {
	var sum int64
	for _, f := range m.Files {
		sum += f.Size
	}
	return sum
}

// Has tells whether the archive has a file, or one in a directory of that name.
func (m *Manifest) Has(name string) bool {
	for _, f := range m.Files {
		if f.Name == name || strings.HasPrefix(f.Name, name+"/") {
			return true
		}
	}
	return false
}

// survey makes the manifest of all regular files below a directory.
func survey(root string, now time.Time) (*Manifest, error) {
	m := &Manifest{Version: version, Created: now.UTC().Truncate(time.Second), Files: []File{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f := File{Name: filepath.ToSlash(name)}
		f.Size, f.SHA256, err = hashFile(path)
		m.Files = append(m.Files, f)
		return err
	})
	return m, err
}

func hashFile(path string) (size int64, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), err
}

// parseManifest reads a manifest and checks that its names are harmless.
func parseManifest(text []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if m.Version != version {
		return nil, fmt.Errorf("the backup has format %d, this program knows %d", m.Version, version)
	}
	for _, f := range m.Files {
		if f.Size < 0 || !isHarmless(f.Name) {
			return nil, fmt.Errorf("%w: it has a file named %q", ErrDamaged, f.Name)
		}
	}
	return &m, nil
}

// isHarmless tells whether a name stays within the directory that it is put in.
func isHarmless(name string) bool {
	return filepath.IsLocal(filepath.FromSlash(name)) && name == filepath.ToSlash(filepath.Clean(name)) && name != "." &&
		!strings.ContainsAny(name, "\x00\\")
}
