package main

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/kmsfs/kmsfs/keysvc/api/certs"
)

// tlsFlags says where the server's certificate comes from.
type tlsFlags struct {
	private   bool     // from an authority of its own
	names     []string // beside the address and this host's name
	caDir     string   // of that authority
	cert, key string   // files that somebody else renews
}

func (f *tlsFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.private, "tls", false, "serve HTTPS with a certificate of a private authority, made on first use in STATE-DIR/tls")
	flags.StringArrayVar(&f.names, "tls-name", nil, "with --tls: a host name or address that clients use, beside those of --listen and of this host; may be repeated")
	flags.StringVar(&f.caDir, "tls-ca-dir", "", "with --tls: the authority's directory (default STATE-DIR/tls)")
	flags.StringVar(&f.cert, "tls-cert", "", "serve HTTPS with this certificate chain, PEM; read again when it changes")
	flags.StringVar(&f.key, "tls-key", "", "its private key, PEM")
}

// wanted reports whether the address is served with TLS.
func (f *tlsFlags) wanted() bool {
	return f.private || f.cert != "" || f.key != "" || f.caDir != "" || len(f.names) > 0
}

// files reads the certificate that was given; nil means that none was. warn is for
// the log.
func (f *tlsFlags) files(warn func(message string, attributes ...any)) (*certs.Files, error) {
	switch {
	case f.cert == "" && f.key == "":
		if f.wanted() && !f.private && f.caDir == "" {
			return nil, usagef("--tls-name is for --tls")
		}
		return nil, nil
	case f.cert == "" || f.key == "":
		return nil, usagef("--tls-cert and --tls-key belong together")
	case f.private || f.caDir != "" || len(f.names) > 0:
		return nil, usagef("--tls makes a certificate, --tls-cert gives one; use one of them")
	}
	files, err := certs.OpenFiles(f.cert, f.key, func(err error) {
		warn("the TLS certificate has changed and cannot be used; the one from before is served", "error", err)
	})
	if err != nil {
		return nil, failf(exitUsage, "--tls-cert is the certificate with its chain, --tls-key its private key, both PEM",
			"the TLS certificate cannot be used: %v", err)
	}
	if files.KeyIsPublic() {
		warn("every user of this machine can read the TLS certificate's private key", "file", f.key)
	}
	return files, nil
}

// config makes the server's configuration: of the given files, or of the authority
// in STATE-DIR/tls, whose certificate's file it names. nil means no TLS.
func (f *tlsFlags) config(files *certs.Files, stateDir, listen string) (config *tls.Config, caFile string, err error) {
	config = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if files != nil {
		config.GetCertificate = files.Certificate
		return config, "", nil
	}
	if !f.wanted() {
		return nil, "", nil
	}
	dir := f.caDir
	if dir == "" {
		dir = filepath.Join(stateDir, certs.DirName)
	}
	authority, err := certs.OpenAuthority(dir, nil)
	if err != nil {
		return nil, "", failf(exitKeys, "restore the directory from a backup, or name another one with --tls-ca-dir", "%v", err)
	}
	server, err := authority.Server(f.serverNames(listen))
	if err != nil {
		return nil, "", err
	}
	config.GetCertificate = server.Certificate
	return config, authority.CertificateFile(), nil
}

// serverNames are the names that clients may use: those that were given, that of
// the address, and this host's.
func (f *tlsFlags) serverNames(listen string) []string {
	names := append([]string{"localhost", "127.0.0.1", "::1"}, f.names...)
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
			names = append(names, host)
		}
	}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	return names
}
