package main

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

func newStoreCommand(a *app) *cobra.Command {
	remote := []*cobra.Command{newStoreCreateCommand(a), newStoreListCommand(a), newStoreConnectCommand(a),
		newStoreDisconnectCommand(a), newStoreUpdateCommand(a), newStoreDeleteCommand(a)}
	for _, c := range remote {
		a.addEndpointFlag(c.Flags())
	}
	return newParent("store", "custom key stores: keys in a second token or an external key manager",
		append(remote, newStoreClusterCommand(a))...)
}

func newStoreListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "list the custom key stores with their connection states",
		Args:    needArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				all, err := listStores(c.Context(), s)
				return show(a, "CustomKeyStores", all, err, a.printStores)
			})
		},
	}
}

// listStores reads all pages.
func listStores(ctx context.Context, s keyClient) ([]types.CustomKeyStoresListEntry, error) {
	return allPages(func(marker *string) ([]types.CustomKeyStoresListEntry, bool, *string, error) {
		out, err := s.DescribeCustomKeyStores(ctx, &kms.DescribeCustomKeyStoresInput{Marker: marker})
		if err != nil {
			return nil, false, nil, err
		}
		return out.CustomKeyStores, out.Truncated, out.NextMarker, nil
	})
}

func (a *app) printStores(all []types.CustomKeyStoresListEntry) error {
	var rows [][]string
	for _, ks := range all {
		where := aws.ToString(ks.CloudHsmClusterId)
		if proxy := ks.XksProxyConfiguration; proxy != nil {
			where = aws.ToString(proxy.UriEndpoint) + aws.ToString(proxy.UriPath)
		}
		rows = append(rows, []string{aws.ToString(ks.CustomKeyStoreId), aws.ToString(ks.CustomKeyStoreName), string(ks.CustomKeyStoreType),
			string(ks.ConnectionState), orDash(string(ks.ConnectionErrorCode)), where})
	}
	return a.ui.Table([]string{"ID", "NAME", "TYPE", "STATE", "ERROR", "CLUSTER OR PROXY"}, rows)
}

// storePrefix begins the ids of custom key stores.
const storePrefix = "cks-"

// storeID turns a STORE, an id or a name, into an id.
func storeID(ctx context.Context, s keyClient, store string) (string, error) {
	if strings.HasPrefix(store, storePrefix) {
		return store, nil
	}
	out, err := s.DescribeCustomKeyStores(ctx, &kms.DescribeCustomKeyStoresInput{CustomKeyStoreName: &store})
	if err != nil {
		return "", err
	}
	for _, ks := range out.CustomKeyStores {
		return aws.ToString(ks.CustomKeyStoreId), nil
	}
	return "", failf(exitNotFound, "see what there is: kmsfs store list", "there is no custom key store %q", store)
}

// eachStoreCommand makes a command that does something with every STORE.
func (a *app) eachStoreCommand(use, short, long string, f func(ctx context.Context, s keyClient, id string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Args: needSome("STORE"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				return each(args, func(store string) error {
					id, err := storeID(c.Context(), s, store)
					if err == nil {
						err = f(c.Context(), s, id)
					}
					return wrapf(err, "%s %s", strings.Fields(use)[0], store)
				})
			})
		},
	}
}

func newStoreDeleteCommand(a *app) *cobra.Command {
	return a.eachStoreCommand("delete STORE...", "delete key stores that are disconnected and have no keys",
		"Keys that are pending deletion count. The token or key manager stays as it is.",
		func(ctx context.Context, s keyClient, id string) error {
			_, err := s.DeleteCustomKeyStore(ctx, &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: &id})
			return err
		})
}

func newStoreDisconnectCommand(a *app) *cobra.Command {
	return a.eachStoreCommand("disconnect STORE...", "make the keys of key stores unavailable",
		"Open files go on; the next open of a file under such a key fails with ENOKEY until the store is connected again.",
		func(ctx context.Context, s keyClient, id string) error {
			_, err := s.DisconnectCustomKeyStore(ctx, &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: &id})
			return err
		})
}
