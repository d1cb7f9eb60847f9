package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Extract puts the files of an archive into a directory, which must be empty, with the
// modes 0600 and, of directories, 0700. After an error the directory has some of them.
func Extract(r io.Reader, into string) (*Manifest, error) {
	t := tar.NewReader(r)
	m, err := readManifest(t)
	if err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		h, err := t.Next()
		if err != nil {
			return nil, damaged(err)
		}
		if h.Typeflag != tar.TypeReg || h.Name != f.Name || h.Size != f.Size {
			return nil, fmt.Errorf("%w: %q is not what is announced", ErrDamaged, h.Name)
		}
		if err := extractFile(t, filepath.Join(into, filepath.FromSlash(f.Name)), f); err != nil {
			return nil, err
		}
	}
	if _, err := t.Next(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: there is more than what is announced", ErrDamaged)
	}
	return m, nil
}

func readManifest(t *tar.Reader) (*Manifest, error) {
	h, err := t.Next()
	if err != nil {
		return nil, damaged(err)
	}
	if h.Name != manifestName || h.Typeflag != tar.TypeReg || h.Size > maxManifest {
		return nil, fmt.Errorf("%w: it doesn't begin with %s", ErrDamaged, manifestName)
	}
	text, err := io.ReadAll(t)
	if err != nil {
		return nil, damaged(err)
	}
	return parseManifest(text)
}

// damaged is an error of the tar reader, for which an early end is a damage too.
func damaged(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

func extractFile(t *tar.Reader, path string, f File) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), t)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = damaged(err)
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return fmt.Errorf("%w: the content of %s is not what was backed up", ErrDamaged, f.Name)
	}
	return nil
}
