package archive

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Write writes all regular files below a directory, which must not change meanwhile.
func Write(w io.Writer, root string, now time.Time) (*Manifest, error) {
	m, err := survey(root, now)
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(w)
	if err := t.WriteHeader(m.header(manifestName, int64(len(text)))); err != nil {
		return nil, err
	}
	if _, err := t.Write(text); err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		if err := m.add(t, root, f); err != nil {
			return nil, err
		}
	}
	return m, t.Close()
}

func (m *Manifest) header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: m.Created}
}

func (m *Manifest) add(t *tar.Writer, root string, f File) error {
	in, err := os.Open(filepath.Join(root, filepath.FromSlash(f.Name)))
	if err != nil {
		return err
	}
	defer in.Close()
	if err := t.WriteHeader(m.header(f.Name, f.Size)); err != nil {
		return err
	}
	_, err = io.CopyN(t, in, f.Size)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
