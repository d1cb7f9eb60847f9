package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/keysvc/api/principals"
)

func newPrincipalCommand(a *app) *cobra.Command {
	return newParent("principal", "make and delete access keys for kmsfs serve",
		newPrincipalCreateCommand(a), newPrincipalListCommand(a), newPrincipalDeleteCommand(a))
}

// principals is the state directory's file of access keys.
func (a *app) principals() *principals.Store {
	return principals.NewStore(filepath.Join(a.keyStateDir(), principals.FileName))
}

// accountID is the account of the state directory, which first may make.
func (a *app) accountID(ctx context.Context, first firstUse) (string, error) {
	config, err := readConfig(a.keyStateDir())
	if !errors.Is(err, os.ErrNotExist) {
		return config.Account, err
	}
	keys, err := a.openEmbedded(ctx, first, a.ui.AskSecret, nil) // makes it, or says that there is none
	if err != nil {
		return "", err
	}
	return keys.Config().Account, keys.Close()
}

func newPrincipalCreateCommand(a *app) *cobra.Command {
	var admin bool
	var first firstUse
	c := &cobra.Command{
		Use:   "create NAME [--admin]",
		Short: "make a principal and print its access key",
		Long: `Makes a principal with an access key for kmsfs serve and prints it, the one time. An administrator
may do everything; others only what grants let them: kmsfs grant create KEY --grantee ARN.
With --json the output is that of aws iam create-access-key.`,
		Args: needArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			account, err := a.accountID(c.Context(), first)
			if err != nil {
				return err
			}
			p, err := a.principals().Create(c.Context(), args[0], admin)
			if err != nil {
				return err
			}
			return a.printAccessKey(&p, account)
		},
	}
	c.Flags().BoolVar(&admin, "admin", false, "allow everything, as the account's root")
	addFirstUseFlags(c, &first)
	return c
}

// printAccessKey is the one place that prints a secret.
func (a *app) printAccessKey(p *principals.Principal, account string) error {
	if a.json {
		return a.ui.JSON(map[string]any{"AccessKey": map[string]any{
			"UserName": p.Name, "AccessKeyId": p.AccessKeyID, "Status": "Active",
			"SecretAccessKey": string(p.Secret), "CreateDate": p.Created,
		}})
	}
	return a.ui.Fields(
		"Principal", p.ARN(account),
		"Access key id", p.AccessKeyID,
		"Secret access key", string(p.Secret))
}

// listedPrincipal is a principal in kmsfs principal list --json.
type listedPrincipal struct {
	UserName    string
	Arn         string
	Admin       bool
	AccessKeyID string `json:"AccessKeyId"`
	CreateDate  time.Time
}

func newPrincipalListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "list the principals, without secrets",
		Args:    needArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			account, err := a.accountID(c.Context(), firstUse{})
			if err != nil {
				return err
			}
			list, err := a.principals().List()
			if err != nil {
				return err
			}
			return a.printPrincipals(list, account)
		},
	}
}

func (a *app) printPrincipals(list []principals.Principal, account string) error {
	shown := []listedPrincipal{}
	var rows [][]string
	for _, p := range list {
		shown = append(shown, listedPrincipal{p.Name, p.ARN(account), p.Admin, p.AccessKeyID, p.Created})
		admin := "-"
		if p.Admin {
			admin = "admin"
		}
		rows = append(rows, []string{p.Name, admin, p.AccessKeyID, localTime(p.Created), p.ARN(account)})
	}
	if a.json {
		return a.ui.JSON(map[string]any{"Principals": shown})
	}
	return a.ui.Table([]string{"NAME", "ROLE", "ACCESS KEY ID", "CREATED", "ARN"}, rows)
}

func newPrincipalDeleteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME...",
		Aliases: []string{"rm"},
		Short:   "delete principals; their access keys are refused from then on",
		Args:    needSome("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := a.accountID(c.Context(), firstUse{}); err != nil {
				return err
			}
			return each(args, func(name string) error { return a.principals().Delete(c.Context(), name) })
		},
	}
}

// principalExitCode classifies an error of the access keys' file.
func principalExitCode(k principals.Kind) int {
	switch k {
	case principals.KindInvalid:
		return exitUsage
	case principals.KindMissing:
		return exitNotFound
	case principals.KindExists:
		return exitConflict
	}
	return exitKeys
}
