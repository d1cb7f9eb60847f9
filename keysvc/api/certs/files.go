package certs

import (
	"crypto/tls"
	"os"
	"sync"
)

// Files is a certificate and its key in files that somebody renews.
type Files struct {
	certFile, keyFile string

	mu      sync.Mutex // guards what follows; held while the files are read
	seen    [2]os.FileInfo
	current *tls.Certificate
}

// OpenFiles reads a certificate with its chain, and its private key, both PEM.
func OpenFiles(certFile, keyFile string) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile}
	infos, err := f.stat()
	if err != nil {
		return nil, err
	}
	return f, f.load(infos)
}

// Certificate returns the certificate as tls.Config.GetCertificate wants it. If
// the files have changed and are no good yet, it is the one from before.
func (f *Files) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if infos, err := f.stat(); err == nil && (changed(infos[0], f.seen[0]) || changed(infos[1], f.seen[1])) {
		_ = f.load(infos) // between the change of one file and the other's they don't fit
	}
	return f.current, nil
}

func (f *Files) stat() (infos [2]os.FileInfo, err error) {
	for i, path := range []string{f.certFile, f.keyFile} {
		if infos[i], err = os.Stat(path); err != nil {
			return infos, err
		}
	}
	return infos, nil
}

func changed(now, before os.FileInfo) bool {
	return !os.SameFile(now, before) || now.Size() != before.Size() || !now.ModTime().Equal(before.ModTime())
}

func (f *Files) load(infos [2]os.FileInfo) error {
	pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return err
	}
	f.current, f.seen = &pair, infos
	return nil
}
