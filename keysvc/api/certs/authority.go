package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// DirName is the name of the authority's directory in a state directory.
const DirName = "tls"

// How long certificates live.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	ServerLife    = 90 * 24 * time.Hour
)

// Names of the files in the directory of an authority.
const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"
)

// backdate is how far clients' clocks may be behind.
const backdate = time.Hour

// Authority is a private certificate authority.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

// OpenAuthority reads the authority in a directory, or makes directory and
// authority if there is none. now is the clock; nil means time.Now. Its errors
// name the file.
func OpenAuthority(dir string, now func() time.Time) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	a := &Authority{dir: dir, now: now}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := checkDirectory(dir); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	err = a.read()
	if errors.Is(err, fs.ErrNotExist) {
		err = a.create()
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	if left := a.cert.NotAfter.Sub(now()); left < ServerLife {
		return nil, fmt.Errorf("certificate authority in %s: its certificate ends at %s; move %s and %s away, start again and give clients the new %s",
			dir, a.cert.NotAfter.Format(time.DateOnly), caFile, caKeyFile, caFile)
	}
	return a, nil
}

// checkDirectory refuses a directory in which others could put an authority of
// theirs.
func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("certificate authority in %s: others than its owner can write there (mode %04o)", dir, mode)
	}
	return nil
}

// lock keeps other processes from making the authority at the same time.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(os.NewSyscallError("flock", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// CertificateFile is the file that clients are to trust.
func (a *Authority) CertificateFile() string { return filepath.Join(a.dir, caFile) }

func (a *Authority) read() error {
	text, err := readPrivate(filepath.Join(a.dir, caKeyFile))
	if err != nil {
		return err
	}
	defer clear(text)
	certificate, err := os.ReadFile(a.CertificateFile())
	if err != nil {
		return fmt.Errorf("its key is there, its certificate not: %v", err)
	}
	if a.cert, err = parse(certificate, "CERTIFICATE", x509.ParseCertificate); err != nil {
		return fmt.Errorf("%s: %w", caFile, err)
	}
	if a.key, err = parse(text, "EC PRIVATE KEY", x509.ParseECPrivateKey); err != nil {
		return fmt.Errorf("%s: %w", caKeyFile, err)
	}
	if !a.key.PublicKey.Equal(a.cert.PublicKey) || !a.cert.IsCA {
		return fmt.Errorf("%s and %s do not belong together", caFile, caKeyFile)
	}
	return nil
}

// readPrivate reads a file that nobody but its owner may read.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("others than its owner can use %s (mode %04o)", path, mode)
	}
	return os.ReadFile(path)
}

func parse[T any](text []byte, kind string, read func([]byte) (T, error)) (T, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != kind || len(rest) > 0 {
		var none T
		return none, fmt.Errorf("it holds no %s and nothing else", kind)
	}
	return read(block.Bytes)
}

// create makes the authority. The key is written last: without it there is none.
func (a *Authority) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "kmsfs key service " + serial.Text(36)[:8]},
		NotBefore: a.now().Add(-backdate), NotAfter: a.now().Add(AuthorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	defer clear(private)
	if err := writePEM(a.CertificateFile(), "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(a.dir, caKeyFile), "EC PRIVATE KEY", private, 0o600); err != nil {
		return err
	}
	return a.read()
}

// writePEM writes a file that is whole or not there.
func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	defer clear(text)
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// serialNumber has 128 random bits.
func serialNumber() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
}
