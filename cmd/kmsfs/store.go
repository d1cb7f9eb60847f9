package main

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

const storeLong = `A custom key store keeps keys elsewhere: in a second PKCS #11 token, which STATE-DIR/clusters.json
names as a cluster, or in an external key manager behind a proxy (XKS). A store must be connected
before its keys can be used; keys are made in it with: kmsfs key create --store ID`

func newStoreCommand(a *app) *cobra.Command {
	c := newParent("store", "custom key stores: a second token, or an external key manager",
		newStoreCreateCommand(a), newStoreUpdateCommand(a), newStoreListCommand(a),
		a.storeIDCommand("connect", "make the store's keys usable", func(ctx context.Context, s keyClient, id *string) error {
			_, err := s.ConnectCustomKeyStore(ctx, &kms.ConnectCustomKeyStoreInput{CustomKeyStoreId: id})
			return err
		}),
		a.storeIDCommand("disconnect", "make the store's keys unavailable", func(ctx context.Context, s keyClient, id *string) error {
			_, err := s.DisconnectCustomKeyStore(ctx, &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: id})
			return err
		}),
		a.storeIDCommand("delete", "forget a store that has no keys", func(ctx context.Context, s keyClient, id *string) error {
			_, err := s.DeleteCustomKeyStore(ctx, &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: id})
			return err
		}))
	c.Long = storeLong
	a.addEndpointFlag(c.PersistentFlags())
	return c
}

// storeIDCommand is a command on a store's id alone.
func (a *app) storeIDCommand(name, short string, run func(context.Context, keyClient, *string) error) *cobra.Command {
	return &cobra.Command{
		Use: name + " STORE-ID", Short: short, Args: needArgs("STORE-ID"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error { return run(c.Context(), s, &args[0]) })
		},
	}
}

// storeFlags are the flags of store create and update.
type storeFlags struct {
	cluster, password              string
	endpoint, path, id, credential string
}

func (f *storeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.cluster, "cluster", "", "a second token: its id in STATE-DIR/clusters.json")
	c.Flags().StringVar(&f.password, "password-file", "", "file with the token's PIN")
	c.Flags().StringVar(&f.endpoint, "xks-endpoint", "", "an external key manager: its proxy, https://HOST")
	c.Flags().StringVar(&f.path, "xks-path", "", "where its API begins, such as /kms/xks/v1")
	c.Flags().StringVar(&f.id, "xks-access-key-id", "", "access key id for the proxy")
	c.Flags().StringVar(&f.credential, "xks-secret-file", "", "file with its secret")
}

// secret reads a secret that a file holds on its first line.
func (a *app) secret(path string) (*string, error) {
	if path == "" {
		return nil, nil
	}
	text, err := a.readBytes(path)
	if err != nil {
		return nil, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return &line, nil
}

// xks is what the proxy's members have in common; nil is no credential.
func (f *storeFlags) xks(a *app) (*types.XksProxyAuthenticationCredentialType, error) {
	secret, err := a.secret(f.credential)
	if err != nil || secret == nil && f.id == "" {
		return nil, err
	}
	return &types.XksProxyAuthenticationCredentialType{AccessKeyId: optional(f.id), RawSecretAccessKey: secret}, nil
}

func newStoreCreateCommand(a *app) *cobra.Command {
	var f storeFlags
	c := &cobra.Command{
		Use:   "create NAME (--cluster ID --password-file FILE | --xks-endpoint URL --xks-path PATH --xks-access-key-id ID --xks-secret-file FILE)",
		Short: "make a store and print its id",
		Args:  needArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			in := &kms.CreateCustomKeyStoreInput{CustomKeyStoreName: &args[0], CloudHsmClusterId: optional(f.cluster),
				XksProxyUriEndpoint: optional(f.endpoint), XksProxyUriPath: optional(f.path)}
			if f.endpoint != "" {
				in.CustomKeyStoreType, in.XksProxyConnectivity = types.CustomKeyStoreTypeExternalKeyStore, types.XksProxyConnectivityTypePublicEndpoint
			}
			var err error
			if in.KeyStorePassword, err = a.secret(f.password); err != nil {
				return err
			}
			if in.XksProxyAuthenticationCredential, err = f.xks(a); err != nil {
				return err
			}
			return a.withKeys(c.Context(), func(s keyClient) error {
				out, err := s.CreateCustomKeyStore(c.Context(), in)
				if err != nil {
					return err
				}
				if a.json {
					return a.ui.JSON(out)
				}
				a.ui.Line("%s", aws.ToString(out.CustomKeyStoreId))
				return nil
			})
		},
	}
	f.add(c)
	return c
}

func newStoreUpdateCommand(a *app) *cobra.Command {
	var f storeFlags
	var name string
	c := &cobra.Command{
		Use:   "update STORE-ID [--name NAME] [--password-file FILE | --xks-...]",
		Short: "change a store that is disconnected",
		Args:  needArgs("STORE-ID"),
		RunE: func(c *cobra.Command, args []string) error {
			in := &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &args[0], NewCustomKeyStoreName: optional(name), CloudHsmClusterId: optional(f.cluster),
				XksProxyUriEndpoint: optional(f.endpoint), XksProxyUriPath: optional(f.path)}
			var err error
			if in.KeyStorePassword, err = a.secret(f.password); err != nil {
				return err
			}
			if in.XksProxyAuthenticationCredential, err = f.xks(a); err != nil {
				return err
			}
			return a.withKeys(c.Context(), func(s keyClient) error {
				_, err := s.UpdateCustomKeyStore(c.Context(), in)
				return err
			})
		},
	}
	c.Flags().StringVar(&name, "name", "", "new name")
	f.add(c)
	return c
}

func newStoreListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "list the stores and their state",
		Args:    needArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				stores, in := []types.CustomKeyStoresListEntry{}, &kms.DescribeCustomKeyStoresInput{}
				for more := true; more; {
					out, err := s.DescribeCustomKeyStores(c.Context(), in)
					if err != nil {
						return err
					}
					stores = append(stores, out.CustomKeyStores...)
					more, in.Marker = out.Truncated, out.NextMarker
				}
				if a.json {
					return a.ui.JSON(map[string]any{"CustomKeyStores": stores})
				}
				var rows [][]string
				for _, k := range stores {
					state := string(k.ConnectionState)
					if k.ConnectionErrorCode != "" {
						state += " (" + string(k.ConnectionErrorCode) + ")"
					}
					rows = append(rows, []string{aws.ToString(k.CustomKeyStoreId), aws.ToString(k.CustomKeyStoreName), string(k.CustomKeyStoreType), state})
				}
				return a.ui.Table([]string{"STORE ID", "NAME", "TYPE", "STATE"}, rows)
			})
		},
	}
}
