package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/keysvc/xks"
	"github.com/kmsfs/kmsfs/keysvc/xks/proxy"
)

// proxyFile is what kmsfs xks-proxy keeps: the configuration for --xks-config, and the keys.
type proxyFile struct {
	proxyConfig
	Keys map[string][]byte
}

func newXKSProxyCommand(a *app) *cobra.Command {
	f := serveFlags{listenIsExplicit: true}
	c := &cobra.Command{
		Use:   "xks-proxy [--listen ADDR] [--tls-cert FILE --tls-key FILE] FILE",
		Short: "run a small external key manager, to try external key stores",
		Long: `Serves AES-256 keys that are in FILE by the AWS external key store proxy API, and prints its URL. On
first use FILE is made, with an access key and the key "key-1". It is what --xks-config takes. Whoever
can read FILE has the keys: this is for trying, not for keeping secrets.`,
		Example: `  kmsfs xks-proxy --listen 127.0.0.1:4600 proxy.json &
  kmsfs store create outside --xks-endpoint http://127.0.0.1:4600 --xks-config proxy.json
  kmsfs store connect outside
  kmsfs key create --store outside --xks-key-id key-1`,
		Args: needArgs("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.serveProxy(c.Context(), args[0], &f)
		},
	}
	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1:4600", "address and port; port 0 takes a free one")
	c.Flags().StringVar(&f.tls.cert, "tls-cert", "", "certificate chain, PEM")
	c.Flags().StringVar(&f.tls.key, "tls-key", "", "its private key, PEM")
	return c
}

// serveProxy answers until a signal ends ctx.
func (a *app) serveProxy(ctx context.Context, path string, f *serveFlags) error {
	keys, credential, uriPath, err := openProxyFile(path)
	if err != nil {
		return err
	}
	var config *tls.Config
	if f.tls.cert != "" || f.tls.key != "" {
		pair, err := tls.LoadX509KeyPair(f.tls.cert, f.tls.key)
		if err != nil {
			return failf(exitUsage, "--tls-cert and --tls-key belong together, both PEM", "the TLS certificate cannot be used: %v", err)
		}
		config = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	}
	if err := f.checkAddress(config != nil); err != nil {
		return err
	}
	listeners, err := f.open(config)
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, Handler: proxy.New(proxy.Config{
		Path: uriPath, Credential: credential, Find: func(id string) *proxy.Key { return keys[id] }, Logger: newLogger(a.ui.err, false)})}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	a.ui.Line("%s", listeners[0].url)
	if err := server.Serve(net.Listener(listeners[0])); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// openProxyFile reads the proxy's file, which it makes if there is none.
func openProxyFile(path string) (map[string]*proxy.Key, xks.Credential, string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = newProxyFile(); err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
	}
	var file proxyFile
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	clear(text)
	if err == nil && file.XksProxyAuthenticationCredential == nil {
		err = errors.New("it has no XksProxyAuthenticationCredential")
	}
	if err != nil {
		return nil, xks.Credential{}, "", wrapf(err, "the proxy's file %s", path)
	}
	keys := make(map[string]*proxy.Key, len(file.Keys))
	for id, material := range file.Keys {
		if keys[id], err = proxy.NewKey(material); err != nil {
			return nil, xks.Credential{}, "", wrapf(err, "key %s in %s", id, path)
		}
		clear(material)
	}
	c := file.XksProxyAuthenticationCredential
	return keys, xks.Credential{AccessKeyID: aws.ToString(c.AccessKeyId), Secret: xks.Secret(aws.ToString(c.RawSecretAccessKey))}, file.XksProxyUriPath, nil
}

func newProxyFile() ([]byte, error) {
	var secret, key [32]byte
	_, _ = rand.Read(secret[:]) // never fails, see crypto/rand
	_, _ = rand.Read(key[:])
	return json.MarshalIndent(&proxyFile{
		proxyConfig: proxyConfig{XksProxyUriPath: "/kms/xks/v1", XksProxyAuthenticationCredential: &types.XksProxyAuthenticationCredentialType{
			AccessKeyId: aws.String(rand.Text()[:20]), RawSecretAccessKey: aws.String(base64.StdEncoding.EncodeToString(secret[:]))}},
		Keys: map[string][]byte{"key-1": key[:]},
	}, "", "  ")
}
