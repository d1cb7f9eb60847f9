package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/patience"
	"github.com/kmsfs/kmsfs/keysvc/embedded"
)

// keyStateDir is the state directory that the flags and the environment select.
func (a *app) keyStateDir() string {
	if a.stateDir != "" {
		return a.stateDir
	}
	home, _ := os.UserHomeDir() // "" makes DefaultDir fall back
	return embedded.DefaultDir(a.getenv, os.Geteuid(), home)
}

// ledgerDir is where the ledgers of volumes are, "" for none.
func (a *app) ledgerDir(none bool) string {
	if none {
		return ""
	}
	return filepath.Join(a.keyStateDir(), "ledger")
}

// runtimeDir is where the sockets of this user's daemons are.
func (a *app) runtimeDir() string { return control.RuntimeDir(a.getenv, os.Geteuid()) }

// firstUse says how a state directory is made if there is none.
type firstUse struct {
	create    bool
	hsmModule string // PKCS#11 module; "" finds SoftHSM
	hsmToken  string // an RFC 7512 URI; "" makes a SoftHSM token
	account   string // twelve digits; "" is embedded's default
	postgres  string // a connection string of libpq; "" keeps keys' state in the directory
}

// addFirstUseFlags defines the flags of the commands that make a state directory.
func addFirstUseFlags(c *cobra.Command, first *firstUse) {
	first.create = true
	c.Flags().StringVar(&first.account, "account", "", "on first use: account id of the key service, twelve digits (default 000000000000)")
	c.Flags().StringVar(&first.hsmModule, "hsm-module", "", "on first use: PKCS#11 module (default SoftHSM 2)")
	c.Flags().StringVar(&first.hsmToken, "hsm-token", "", "on first use: an existing token as an RFC 7512 URI, such as pkcs11:token=NAME (default a new SoftHSM token)")
	c.Flags().StringVar(&first.postgres, "postgres", "", "on first use: connection string, without a password, of a PostgreSQL database that keeps the keys' state, for several hosts (default SQLite in the state directory)")
}

// openKeys opens the key service for a command: that of the endpoint, else the embedded one.
func (a *app) openKeys(ctx context.Context, first firstUse) (*openedKeys, error) {
	return a.openKeysWith(ctx, first, a.ui.AskSecret, nil, nil)
}

// openKeysWith is openKeys with another way to ask for a PIN, a log, and another patience with an endpoint.
func (a *app) openKeysWith(ctx context.Context, first firstUse, ask func(string) ([]byte, error), log *slog.Logger, wait *patience.Patience) (*openedKeys, error) {
	switch {
	case a.remote.endpoint != "" && first != (firstUse{create: first.create}):
		return nil, usagef("--hsm-module, --hsm-token, --postgres and --account are for a key service here, not for one at --endpoint")
	case a.remote.endpoint != "":
		return a.openEndpoint(ctx, wait)
	}
	keys, err := a.openEmbedded(ctx, first, ask, log)
	if err != nil {
		return nil, err
	}
	return &openedKeys{client: keys.Service(), close: keys.Close}, nil
}

// openEmbedded opens the key service of the state directory.
func (a *app) openEmbedded(ctx context.Context, first firstUse, ask func(string) ([]byte, error), log *slog.Logger) (*embedded.Embedded, error) {
	dir := a.keyStateDir()
	if config, err := readConfig(dir); err == nil && first != (firstUse{create: first.create}) {
		return nil, failf(exitUsage, "leave --hsm-module, --hsm-token, --postgres and --account out, or name another directory with --state-dir",
			"the key service in %s has its token already, %s, its store, and the account %s", dir, tokenName(config.Token), config.Account)
	}
	return embedded.Open(ctx, embedded.Options{
		Dir: dir, PINSource: a.pinSource, Prompt: ask, Module: first.hsmModule, TokenURI: first.hsmToken, Account: first.account, Postgres: first.postgres,
		AuditSync: a.auditSync, CreateIfMissing: first.create, Logger: log,
	})
}

// readConfig reads what a state directory records about itself.
func readConfig(dir string) (embedded.Config, error) {
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return embedded.Config{}, err
	}
	return embedded.ParseConfig(text)
}

// tokenName is how a state directory names its token.
func tokenName(t embedded.TokenConfig) string {
	if t.URI != "" {
		return t.URI
	}
	return "SoftHSM token " + t.Label
}

// withKeys opens the key service for one command and closes it afterwards.
func (a *app) withKeys(ctx context.Context, f func(keyClient) error) error {
	return a.withKeysOf(ctx, firstUse{}, f)
}

// withKeysOf is withKeys for a command that may make the state directory.
func (a *app) withKeysOf(ctx context.Context, first firstUse, f func(keyClient) error) error {
	keys, err := a.openKeys(ctx, first)
	if err != nil {
		return err
	}
	return errors.Join(f(keys.Service()), keys.Close())
}

// resolveKey turns a KEY into its metadata. AWS takes aliases in DescribeKey and in cryptographic
// operations only; every other command resolves them through here first.
func resolveKey(ctx context.Context, s keyClient, key string) (*types.KeyMetadata, error) {
	out, err := s.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(key)})
	if err != nil {
		return nil, err
	}
	return out.KeyMetadata, nil
}

// keyID is resolveKey for what only needs the id; a key id or ARN is passed on without a call.
func keyID(ctx context.Context, s keyClient, key string) (string, error) {
	if !isAlias(key) {
		return key, nil
	}
	meta, err := resolveKey(ctx, s, key)
	if err != nil {
		return "", err
	}
	return aws.ToString(meta.KeyId), nil
}

// isAlias reports whether a KEY is an alias name or an alias ARN.
func isAlias(key string) bool {
	return strings.HasPrefix(key, "alias/") || strings.Contains(key, ":alias/")
}

// aliasNames lists the aliases of every key by key id.
func aliasNames(ctx context.Context, s keyClient) (map[string][]string, error) {
	list, err := listAliases(ctx, s, "")
	byKey := map[string][]string{}
	for _, e := range list {
		id := aws.ToString(e.TargetKeyId)
		byKey[id] = append(byKey[id], aws.ToString(e.AliasName))
	}
	return byKey, err
}

// listAliases lists every alias, or those of one key.
func listAliases(ctx context.Context, s keyClient, key string) ([]types.AliasListEntry, error) {
	in := &kms.ListAliasesInput{}
	if key != "" {
		in.KeyId = &key
	}
	return allPages(func(marker *string) ([]types.AliasListEntry, bool, *string, error) {
		in.Marker = marker
		out, err := s.ListAliases(ctx, in)
		if err != nil {
			return nil, false, nil, err
		}
		return out.Aliases, out.Truncated, out.NextMarker, nil
	})
}
