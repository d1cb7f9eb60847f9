package certs

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
)

// Files is a certificate and its key in files that somebody renews.
type Files struct {
	certFile, keyFile string
	failed            func(error)

	mu      sync.Mutex // guards what follows; held while the files are read
	current *tls.Certificate
	seen    fileInfos // of current
	tried   fileInfos // of the last ones that were no good
	retry   time.Time // of those, as files can change without showing it
}

// retryAfter is how often files that are no good are read again.
const retryAfter = 5 * time.Second

// fileInfos are those of the certificate and of the key.
type fileInfos [2]os.FileInfo

// OpenFiles reads a certificate with its chain, and its private key, both PEM.
// failed is told, once for each change, when what they have become is no good.
func OpenFiles(certFile, keyFile string, failed func(error)) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, failed: failed}
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
	infos, err := f.stat()
	if err != nil || !infos.differ(f.seen) {
		return f.current, nil
	}
	if fresh := infos.differ(f.tried); fresh || time.Now().After(f.retry) {
		// Between the change of one file and the other's they don't fit.
		if err := f.load(infos); err != nil && fresh {
			f.failed(err)
		}
	}
	return f.current, nil
}

// KeyIsPublic tells whether every user of the machine can read the private key.
func (f *Files) KeyIsPublic() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[1].Mode().Perm()&0o004 != 0
}

func (f *Files) stat() (infos fileInfos, err error) {
	for i, path := range []string{f.certFile, f.keyFile} {
		if infos[i], err = os.Stat(path); err != nil {
			return infos, err
		}
	}
	return infos, nil
}

func (i fileInfos) differ(before fileInfos) bool {
	return changed(i[0], before[0]) || changed(i[1], before[1])
}

func changed(now, before os.FileInfo) bool {
	return before == nil || !os.SameFile(now, before) || now.Size() != before.Size() || !now.ModTime().Equal(before.ModTime())
}

func (f *Files) load(infos fileInfos) error {
	pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		f.tried, f.retry = infos, time.Now().Add(retryAfter)
		return err
	}
	f.current, f.seen = &pair, infos
	return nil
}
