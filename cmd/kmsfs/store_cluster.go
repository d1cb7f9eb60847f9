package main

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/keysvc/embedded"
)

func newStoreClusterCommand(a *app) *cobra.Command {
	return newParent("cluster", "the tokens that key stores of this key service may use",
		newClusterAddCommand(a), newClusterListCommand(a), newClusterRemoveCommand(a))
}

// needKeyService refuses a state directory that isn't one.
func (a *app) needKeyService() error {
	if _, err := readConfig(a.keyStateDir()); err != nil {
		return wrapf(err, "there is no key service in %s", a.keyStateDir())
	}
	return nil
}

func newClusterAddCommand(a *app) *cobra.Command {
	var cluster embedded.Cluster
	c := &cobra.Command{
		Use:   "add CLUSTER [--token-uri URI [--module FILE] [--init-args TEXT]]",
		Short: "let key stores use a token, or make a SoftHSM token for them",
		Long: `Gives a PKCS#11 token a name that --cluster takes: cluster- and 11 to 16 letters or digits from 2 to
7, the form that AWS demands. Without --token-uri a SoftHSM token is made beside the key service's
own; its PIN, of 7 to 32 characters, is asked for or read from standard input. A kmsfs serve or mount
that runs already sees such a token when it is started again.`,
		Example: `  kmsfs store cluster add cluster-abcdefghijk
  kmsfs store cluster add cluster-networkhsm2 --token-uri 'pkcs11:token=prod?module-path=/opt/hsm/libpkcs11.so'`,
		Args: needArgs("CLUSTER"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.needKeyService(); err != nil {
				return err
			}
			if cluster.URI != "" {
				return embedded.SetCluster(c.Context(), a.keyStateDir(), args[0], &cluster)
			}
			if cluster.Module != "" || cluster.InitArgs != "" {
				return usagef("--module and --init-args belong to --token-uri")
			}
			pin, err := a.ui.AskSecret("New PIN of the token " + args[0] + ": ")
			if err != nil {
				return wrapf(err, "read the new token's PIN")
			}
			defer clear(pin)
			return embedded.NewCluster(c.Context(), a.keyStateDir(), args[0], pin)
		},
	}
	c.Flags().StringVar(&cluster.URI, "token-uri", "", "an existing token as an RFC 7512 URI, without a PIN")
	c.Flags().StringVar(&cluster.Module, "module", "", "PKCS#11 module (default that of the URI, else SoftHSM 2)")
	c.Flags().StringVar(&cluster.InitArgs, "init-args", "", "argument of the module's C_Initialize, which NSS needs")
	return c
}

func newClusterListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "list them",
		Args:    needArgs(),
		RunE: func(*cobra.Command, []string) error {
			if err := a.needKeyService(); err != nil {
				return err
			}
			all, err := embedded.Clusters(a.keyStateDir())
			if err != nil {
				return err
			}
			if a.json {
				return a.ui.JSON(map[string]any{"Clusters": all})
			}
			var rows [][]string
			for _, id := range slices.Sorted(maps.Keys(all)) {
				rows = append(rows, []string{id, all[id].URI, orDash(all[id].Module)})
			}
			return a.ui.Table([]string{"CLUSTER", "TOKEN", "MODULE"}, rows)
		},
	}
}

func newClusterRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove CLUSTER...",
		Short: "forget them; the tokens and their keys stay",
		Args:  needSome("CLUSTER"),
		RunE: func(c *cobra.Command, args []string) error {
			return each(args, func(id string) error { return embedded.SetCluster(c.Context(), a.keyStateDir(), id, nil) })
		},
	}
}
