package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// Server is the certificate of a server, renewed by its authority in time.
type Server struct {
	authority *Authority
	names     []string

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	renewal time.Time
}

// Server makes a certificate for host names and IP addresses.
func (a *Authority) Server(names []string) (*Server, error) {
	if len(names) == 0 {
		return nil, errors.New("a server's certificate needs a name")
	}
	names = slices.Clone(names)
	slices.Sort(names)
	s := &Server{authority: a, names: slices.Compact(names)}
	_, err := s.Certificate(nil)
	return s, err
}

// Certificate returns the certificate as tls.Config.GetCertificate wants it.
func (s *Server) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.authority.now(); s.current == nil || now.After(s.renewal) {
		fresh, err := s.authority.issue(s.names)
		if err != nil {
			return nil, err
		}
		s.current, s.renewal = fresh, now.Add(ServerLife*2/3)
	}
	return s.current, nil
}

// issue makes a key and a certificate for it.
func (a *Authority) issue(names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "kmsfs serve"},
		NotBefore: a.now().Add(-backdate), NotAfter: a.now().Add(ServerLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}, nil
}
