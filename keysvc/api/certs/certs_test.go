package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func authority(t *testing.T, dir string, c *clock) *Authority {
	t.Helper()
	a, err := OpenAuthority(dir, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// trusts does a TLS handshake as a client that trusts the authority's file.
func trusts(t *testing.T, caFile, name string, at time.Time, get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
	t.Helper()
	pool := x509.NewCertPool()
	text, err := os.ReadFile(caFile)
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatal(err, "no certificate")
	}
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		server := tls.Server(far, &tls.Config{GetCertificate: get})
		_ = server.Handshake()
		_ = far.Close()
	}()
	return tls.Client(near, &tls.Config{RootCAs: pool, ServerName: name, Time: func() time.Time { return at }}).Handshake()
}

func TestClientsTrustWhatTheAuthorityIssues(t *testing.T) {
	c := &clock{time.Now()}
	dir := filepath.Join(t.TempDir(), "tls")
	server, err := authority(t, dir, c).Server([]string{"keys.example", "10.0.0.1", "::1", "localhost", "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	again := authority(t, dir, c) // the same authority is read back
	for _, name := range []string{"keys.example", "10.0.0.1", "::1", "localhost"} {
		if err := trusts(t, again.CertificateFile(), name, c.at, server.Certificate); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := trusts(t, again.CertificateFile(), "other.example", c.at, server.Certificate); err == nil {
		t.Error("trusted for another name")
	}
	other := authority(t, t.TempDir(), c)
	if err := trusts(t, other.CertificateFile(), "localhost", c.at, server.Certificate); err == nil {
		t.Error("trusted by clients of another authority")
	}
	if info, err := os.Stat(filepath.Join(dir, caKeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestAServersCertificateIsRenewedInTime(t *testing.T) {
	c := &clock{time.Now()}
	a := authority(t, t.TempDir(), c)
	server, err := a.Server([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	first, _ := server.Certificate(nil)
	c.at = c.at.Add(ServerLife/3 + time.Hour)
	if same, _ := server.Certificate(nil); same != first {
		t.Error("renewed early")
	}
	c.at = c.at.Add(ServerLife / 3)
	second, err := server.Certificate(nil)
	if err != nil || second == first {
		t.Fatalf("not renewed: %v", err)
	}
	if err := trusts(t, a.CertificateFile(), "localhost", c.at.Add(ServerLife/2), server.Certificate); err != nil {
		t.Error(err)
	}
}

func TestAnAuthorityThatEndsSaysSo(t *testing.T) {
	c := &clock{time.Now()}
	dir := t.TempDir()
	authority(t, dir, c)
	c.at = c.at.Add(AuthorityLife - ServerLife/2)
	if _, err := OpenAuthority(dir, c.now); err == nil || !strings.Contains(err.Error(), "give clients the new ca.pem") {
		t.Error(err)
	}
}

func TestADamagedAuthorityIsNotReplaced(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"certificate gone": func(dir string) error { return os.Remove(filepath.Join(dir, caFile)) },
		"key of another": func(dir string) error {
			other, err := OpenAuthority(filepath.Join(dir, "other"), nil)
			if err != nil {
				return err
			}
			return os.Rename(filepath.Join(other.dir, caKeyFile), filepath.Join(dir, caKeyFile))
		},
		"readable by others": func(dir string) error { return os.Chmod(filepath.Join(dir, caKeyFile), 0o640) },
		"text":               func(dir string) error { return os.WriteFile(filepath.Join(dir, caFile), []byte("x"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			authority(t, dir, &clock{time.Now()})
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenAuthority(dir, nil); err == nil {
				t.Error("opened")
			}
		})
	}
}

func TestProcessesThatStartTogetherMakeOneAuthority(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	serials := make([]string, 8)
	for i := range serials {
		all.Go(func() {
			a, err := OpenAuthority(dir, nil)
			if err != nil {
				t.Error(err)
				return
			}
			serials[i] = a.cert.SerialNumber.String()
		})
	}
	all.Wait()
	for _, s := range serials {
		if s != serials[0] {
			t.Error("two authorities")
		}
	}
}

func TestChangedFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	write := func(a *Authority) *tls.Certificate {
		t.Helper()
		issued, err := a.issue([]string{"localhost"})
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.MarshalPKCS8PrivateKey(issued.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: issued.Certificate[0]}, "key": {Type: "PRIVATE KEY", Bytes: key}} {
			if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return issued
	}
	a := authority(t, t.TempDir(), &clock{time.Now()})
	first := write(a)
	var failures []error
	files, err := OpenFiles(filepath.Join(dir, "cert"), filepath.Join(dir, "key"), func(err error) { failures = append(failures, err) })
	if err != nil {
		t.Fatal(err)
	}
	second := write(a)
	for _, want := range []*tls.Certificate{second, second} {
		got, err := files.Certificate(nil)
		if err != nil || string(got.Certificate[0]) != string(want.Certificate[0]) || string(got.Certificate[0]) == string(first.Certificate[0]) {
			t.Errorf("not the new certificate: %v", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cert"), []byte("half writ"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := files.Certificate(nil); err != nil || string(got.Certificate[0]) != string(second.Certificate[0]) {
			t.Errorf("the certificate from before is gone: %v", err)
		}
	}
	if len(failures) != 1 {
		t.Errorf("one bad change was told as %v", failures)
	}
	if _, err := OpenFiles(filepath.Join(dir, "cert"), filepath.Join(dir, "key"), nil); err == nil {
		t.Error("opened")
	}
	third := write(a)
	if got, err := files.Certificate(nil); err != nil || string(got.Certificate[0]) != string(third.Certificate[0]) || len(failures) != 1 {
		t.Errorf("not the certificate that is good again: %v %v", err, failures)
	}
	if files.KeyIsPublic() {
		t.Error("the key's mode is 0600")
	}
	if err := os.Chmod(filepath.Join(dir, "key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if files, err = OpenFiles(filepath.Join(dir, "cert"), filepath.Join(dir, "key"), nil); err != nil || !files.KeyIsPublic() {
		t.Errorf("everybody can read the key: %v", err)
	}
}

// Who can write to the directory could have prepared the authority, or where its
// key is written to.
func TestADirectoryOfOthersHoldsNoAuthority(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir, nil); err == nil || !strings.Contains(err.Error(), "others than its owner can write there") {
		t.Error(err)
	}
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "elsewhere")
	for _, name := range []string{caFile, caKeyFile} {
		if err := os.Symlink(elsewhere, filepath.Join(dir, name+".new")); err != nil {
			t.Fatal(err)
		}
	}
	authority(t, dir, &clock{time.Now()})
	if _, err := os.Stat(elsewhere); err == nil {
		t.Error("written through a link")
	}
}
