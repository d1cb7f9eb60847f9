package main

import (
	"bytes"
	"encoding/json"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

// proxyFlags say where an external key store's proxy is.
type proxyFlags struct{ endpoint, config, path string }

func (f *proxyFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.endpoint, "xks-endpoint", "", "URL of the proxy of an external key store, https or on a loopback address")
	c.Flags().StringVar(&f.path, "xks-path", "", "path of the proxy, ending in /kms/xks/v1 (default what --xks-config says)")
	c.Flags().StringVar(&f.config, "xks-config", "", "JSON file of the proxy with XksProxyUriPath and XksProxyAuthenticationCredential")
}

// proxyConfig is the configuration file that proxies give their users (XKS Proxy API Specification,
// "XKS proxy configuration").
type proxyConfig struct {
	XksProxyUriPath                  string
	XksProxyAuthenticationCredential *types.XksProxyAuthenticationCredentialType
}

// read reads the file, if one is named.
func (f *proxyFlags) read() (proxyConfig, error) {
	var config proxyConfig
	if f.config != "" {
		text, err := os.ReadFile(f.config)
		if err == nil {
			err = json.Unmarshal(text, &config)
			clear(text)
		}
		if err != nil {
			return config, wrapf(err, "read the proxy's configuration %s", f.config)
		}
	}
	if f.path != "" {
		config.XksProxyUriPath = f.path
	}
	return config, nil
}

func newStoreCreateCommand(a *app) *cobra.Command {
	var cluster, anchor, file string
	var proxy proxyFlags
	c := &cobra.Command{
		Use:   "create NAME {--cluster CLUSTER | --xks-endpoint URL --xks-config FILE}",
		Short: "make a custom key store and print its id",
		Long: `Makes a key store whose keys are in a second token, or that are used together with keys of an
external key manager. The token's PIN is asked for, or read from standard input. The store is not
connected yet: kmsfs store connect.`,
		Example: `  kmsfs store cluster add cluster-abcdefghijk
  kmsfs store create vault2 --cluster cluster-abcdefghijk
  kmsfs store connect vault2
  kmsfs key create --store vault2 --alias alias/second`,
		Args: needArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			in, err := a.newStore(args[0], cluster, anchor, file, &proxy)
			if err != nil {
				return err
			}
			return a.withKeys(c.Context(), func(s keyClient) error {
				out, err := s.CreateCustomKeyStore(c.Context(), in)
				if err != nil {
					return wrapf(err, "create key store %s", args[0])
				}
				if a.json {
					return a.ui.JSON(map[string]any{"CustomKeyStoreId": out.CustomKeyStoreId})
				}
				a.ui.Line("%s", aws.ToString(out.CustomKeyStoreId))
				return nil
			})
		},
	}
	c.Flags().StringVar(&cluster, "cluster", "", "name of a token that the key service knows: kmsfs store cluster list")
	c.Flags().StringVar(&file, "password-file", "", "file with the token's PIN, in place of standard input")
	c.Flags().StringVar(&anchor, "trust-anchor", "", "certificate of the cluster, PEM; AWS KMS requires it")
	proxy.add(c)
	return c
}

// newStore is the input that the flags ask for.
func (a *app) newStore(name, cluster, anchor, file string, proxy *proxyFlags) (*kms.CreateCustomKeyStoreInput, error) {
	in := &kms.CreateCustomKeyStoreInput{CustomKeyStoreName: &name}
	if (cluster == "") == (proxy.endpoint == "") {
		return nil, usagef("give either --cluster for a second token or --xks-endpoint for an external key manager")
	}
	if cluster == "" {
		config, err := proxy.read()
		in.CustomKeyStoreType, in.XksProxyConnectivity = types.CustomKeyStoreTypeExternalKeyStore, types.XksProxyConnectivityTypePublicEndpoint
		in.XksProxyUriEndpoint, in.XksProxyUriPath = &proxy.endpoint, aws.String(config.XksProxyUriPath)
		in.XksProxyAuthenticationCredential = config.XksProxyAuthenticationCredential
		if err == nil && config.XksProxyAuthenticationCredential == nil {
			err = usagef("--xks-config must name the file with the proxy's access key")
		}
		return in, err
	}
	in.CloudHsmClusterId = &cluster
	if anchor != "" {
		text, err := os.ReadFile(anchor)
		if err != nil {
			return nil, wrapf(err, "read the trust anchor")
		}
		in.TrustAnchorCertificate = aws.String(string(text))
	}
	pin, err := a.storePassword(file, "PIN of the token "+cluster+": ")
	in.KeyStorePassword = pin
	return in, err
}

// storePassword reads a token's PIN from the first line of a file, or asks for it.
func (a *app) storePassword(file, prompt string) (*string, error) {
	var pin []byte
	var err error
	if file == "" {
		pin, err = a.ui.AskSecret(prompt)
	} else if pin, err = os.ReadFile(file); err == nil {
		pin, _, _ = bytes.Cut(pin, []byte("\n"))
	}
	if err != nil {
		return nil, wrapf(err, "read the token's PIN")
	}
	defer clear(pin)
	return aws.String(string(pin)), nil
}

func newStoreUpdateCommand(a *app) *cobra.Command {
	var name, cluster, file string
	var password bool
	var proxy proxyFlags
	c := &cobra.Command{
		Use:   "update STORE [--name NAME] [--cluster CLUSTER] [--password] [--xks-endpoint URL] [--xks-path PATH] [--xks-config FILE]",
		Short: "change a key store",
		Long: `A key store must be disconnected for it; the name, and path and access key of a proxy, can be changed
while it is connected. --password asks for the token's new PIN, or reads it from standard input.`,
		Args: needArgs("STORE"),
		RunE: func(c *cobra.Command, args []string) error {
			in, err := a.changedStore(name, cluster, file, password, &proxy)
			if err != nil {
				return err
			}
			return a.withKeys(c.Context(), func(s keyClient) error {
				id, err := storeID(c.Context(), s, args[0])
				if err != nil {
					return err
				}
				in.CustomKeyStoreId = &id
				_, err = s.UpdateCustomKeyStore(c.Context(), in)
				return wrapf(err, "update key store %s", args[0])
			})
		},
	}
	c.Flags().StringVar(&name, "name", "", "new name")
	c.Flags().StringVar(&cluster, "cluster", "", "another token, which must hold the store's keys")
	c.Flags().BoolVar(&password, "password", false, "the token has another PIN now")
	c.Flags().StringVar(&file, "password-file", "", "file with that PIN, in place of standard input")
	proxy.add(c)
	return c
}

// changedStore is the input that the flags ask for.
func (a *app) changedStore(name, cluster, file string, password bool, proxy *proxyFlags) (*kms.UpdateCustomKeyStoreInput, error) {
	config, err := proxy.read()
	if err != nil {
		return nil, err
	}
	in := &kms.UpdateCustomKeyStoreInput{
		NewCustomKeyStoreName: optional(name), CloudHsmClusterId: optional(cluster), XksProxyUriEndpoint: optional(proxy.endpoint),
		XksProxyUriPath: optional(config.XksProxyUriPath), XksProxyAuthenticationCredential: config.XksProxyAuthenticationCredential,
	}
	if password || file != "" {
		in.KeyStorePassword, err = a.storePassword(file, "New PIN of the token: ")
	}
	return in, err
}
