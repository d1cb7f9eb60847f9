package api

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/api/certs"
)

// serveTLS serves on a port of its own with a certificate of a new authority.
func serveTLS(t testing.TB, e *endpoint) (addr string, roots *x509.CertPool) {
	t.Helper()
	authority, err := certs.OpenAuthority(filepath.Join(t.TempDir(), "tls"), nil)
	if err != nil {
		t.Fatal(err)
	}
	server, err := authority.Server([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.listen(Listener{l, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: server.Certificate}})
	certificate, err := server.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(certificate.Certificate[1])
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(root)
	return l.Addr().String(), roots
}

func TestTLSIsOfThisCenturyAndCarriesHTTP11(t *testing.T) {
	e := serve(t)
	addr, roots := serveTLS(t, e)
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	answer, err := client.Get("https://" + addr + "/health")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.Proto != "HTTP/1.1" || answer.TLS.Version != tls.VersionTLS13 {
		t.Error(answer.Proto, tls.VersionName(answer.TLS.Version))
	}
	for name, config := range map[string]*tls.Config{
		"TLS 1.1":     {RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"HTTP/2 only": {RootCAs: roots, NextProtos: []string{"h2"}},
	} {
		if c, err := tls.Dial("tcp", addr, config); err == nil {
			c.Close()
			t.Errorf("%s is accepted", name)
		}
	}
	plain, err := http.Get("http://" + addr + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Body.Close()
	if text, _ := io.ReadAll(plain.Body); plain.StatusCode != 400 || !strings.Contains(string(text), "HTTP request to an HTTPS server") {
		t.Errorf("%s %s", plain.Status, text)
	}
}

// A client that never ends its handshake holds a connection for a while only.
func TestASlowHandshakeIsCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the server's patience")
	}
	e := serve(t)
	addr, _ := serveTLS(t, e)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{0x16, 3, 1}); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(headerTime + 5*time.Second))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("still connected: %v", err)
	}
}
