package main

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

func newKeyCommand(a *app) *cobra.Command {
	c := newParent("key", "make, list, change and use KMS keys",
		newKeyCreateCommand(a), newKeyListCommand(a), newKeyDescribeCommand(a),
		newKeyEnableCommand(a), newKeyDisableCommand(a),
		newKeyScheduleDeletionCommand(a), newKeyCancelDeletionCommand(a),
		newKeyRotateCommand(a), newKeyRotationCommand(a), newKeyUpdateDescriptionCommand(a),
		newKeyPolicyCommand(a), newKeyLastUsageCommand(a),
		newKeyEncryptCommand(a), newKeyDecryptCommand(a), newKeyReEncryptCommand(a),
		newKeyDataKeyCommand(a), newKeyDataKeyPairCommand(a), newKeyRandomCommand(a),
		newKeySignCommand(a), newKeyVerifyCommand(a), newKeyMACCommand(a), newKeyVerifyMACCommand(a),
		newKeyPublicKeyCommand(a), newKeyDeriveCommand(a), newKeyEncapsulateCommand(a), newKeyDecapsulateCommand(a),
		newKeyImportCommand(a), newKeyImportParametersCommand(a), newKeyDeleteMaterialCommand(a),
		newKeyReplicateCommand(a), newKeyUpdatePrimaryCommand(a))
	a.addEndpointFlag(c.PersistentFlags())
	return c
}

func newKeyCreateCommand(a *app) *cobra.Command {
	var made keyFlags
	var first firstUse
	c := &cobra.Command{
		Use:   "create [--description TEXT] [--alias NAME] [--spec SPEC] [--usage USAGE] [--tags K=V,...]",
		Short: "make a customer-managed key and print its ARN",
		Example: `  kmsfs key create --alias alias/laptop --description "files of this laptop"
  kmsfs init --key-id alias/laptop ~/vault
  kmsfs key create --alias alias/signer --spec ECC_NIST_P256`,
		Args: needArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := made.policy.read(a); err != nil {
				return err
			}
			return a.withKeysOf(c.Context(), first, func(s keyClient) error {
				meta, err := made.create(c.Context(), s)
				if err != nil {
					return err
				}
				if a.json {
					return a.ui.JSON(map[string]any{"KeyMetadata": meta})
				}
				a.ui.Line("%s", aws.ToString(meta.Arn))
				return nil
			})
		},
	}
	c.Flags().StringVar(&made.description, "description", "", "what the key is for")
	c.Flags().StringVar(&made.alias, "alias", "", "also give it this name")
	c.Flags().StringVar(&made.spec, "spec", "", "kind of key, such as RSA_3072, ECC_NIST_P256 or HMAC_256 (default SYMMETRIC_DEFAULT)")
	c.Flags().StringVar(&made.usage, "usage", "", "ENCRYPT_DECRYPT, SIGN_VERIFY, GENERATE_VERIFY_MAC, KEY_AGREEMENT or ENCAPSULATE_DECAPSULATE; for RSA and key agreement it must be said")
	c.Flags().StringVar(&made.origin, "origin", "", "EXTERNAL: its material is imported later (default AWS_KMS, or what the --store is)")
	c.Flags().BoolVar(&made.multiRegion, "multi-region", false, "one that can be replicated to other regions")
	c.Flags().StringVar(&made.store, "store", "", "make it in this custom key store, an id or name: kmsfs store list")
	c.Flags().StringVar(&made.xksKey, "xks-key-id", "", "in an external key store: the key's id there")
	c.Flags().StringToStringVar(&made.tags, "tags", nil, "tags, K=V,...")
	made.policy.add(c)
	addFirstUseFlags(c, &first)
	return c
}

// keyFlags are the flags of key create.
type keyFlags struct {
	description, alias, spec, usage string
	origin, store, xksKey           string
	multiRegion                     bool
	tags                            map[string]string
	policy                          policyFlags
}

// keyUsage is what was asked for, else what keys of the kind are for as a rule.
func (f *keyFlags) keyUsage() types.KeyUsageType {
	switch {
	case f.usage != "":
		return types.KeyUsageType(f.usage)
	case strings.HasPrefix(f.spec, "HMAC_"):
		return types.KeyUsageTypeGenerateVerifyMac
	case strings.HasPrefix(f.spec, "ECC_"), strings.HasPrefix(f.spec, "ML_DSA_"):
		return types.KeyUsageTypeSignVerify
	case strings.HasPrefix(f.spec, "ML_KEM_"):
		return types.KeyUsageTypeEncapsulateDecapsulate
	}
	return ""
}

// place has the key made in a custom key store, if one is named, whose type says the origin.
func (f *keyFlags) place(ctx context.Context, s keyClient, in *kms.CreateKeyInput) error {
	if f.store == "" {
		return nil
	}
	id, err := storeID(ctx, s, f.store)
	if err != nil {
		return err
	}
	in.CustomKeyStoreId = &id
	switch {
	case f.origin != "":
	case f.xksKey != "":
		in.Origin = types.OriginTypeExternalKeyStore
	default:
		in.Origin = types.OriginTypeAwsCloudhsm
	}
	return nil
}

// create makes a key and, if asked, its alias. A key whose alias cannot be made stays: the error
// names it.
func (f *keyFlags) create(ctx context.Context, s keyClient) (*types.KeyMetadata, error) {
	alias := f.alias
	if alias != "" && !strings.HasPrefix(alias, "alias/") {
		return nil, failf(exitUsage, "write it as alias/"+alias, "alias %q does not begin with alias/", alias)
	}
	in := &kms.CreateKeyInput{Description: &f.description, KeySpec: types.KeySpec(f.spec), KeyUsage: f.keyUsage(),
		Policy: f.policy.document, BypassPolicyLockoutSafetyCheck: f.policy.bypass, Tags: tagsOf(f.tags), Origin: types.OriginType(f.origin), XksKeyId: optional(f.xksKey), MultiRegion: &f.multiRegion}
	if err := f.place(ctx, s, in); err != nil {
		return nil, err
	}
	out, err := s.CreateKey(ctx, in)
	if err != nil {
		return nil, wrapf(f.policy.explain(err), "create key")
	}
	if alias == "" {
		return out.KeyMetadata, nil
	}
	id := out.KeyMetadata.KeyId
	_, err = s.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String(alias), TargetKeyId: id})
	return out.KeyMetadata, wrapf(err, "made key %s, but not its alias", aws.ToString(id))
}

func newKeyListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "list the keys with their state and aliases",
		Args:    needArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				keys, err := listKeys(c.Context(), s)
				return show(a, "Keys", keys, err, a.printKeys)
			})
		},
	}
}

// listedKey is a key in kmsfs key list --json: its metadata and its aliases.
type listedKey struct {
	*types.KeyMetadata
	Aliases []string
}

// listKeys describes every key.
func listKeys(ctx context.Context, s keyClient) ([]listedKey, error) {
	names, err := aliasNames(ctx, s)
	if err != nil {
		return nil, err
	}
	all, err := allPages(func(marker *string) ([]types.KeyListEntry, bool, *string, error) {
		out, err := s.ListKeys(ctx, &kms.ListKeysInput{Marker: marker})
		if err != nil {
			return nil, false, nil, err
		}
		return out.Keys, out.Truncated, out.NextMarker, nil
	})
	if err != nil {
		return nil, err
	}
	keys := make([]listedKey, 0, len(all))
	for _, k := range all {
		meta, err := resolveKey(ctx, s, aws.ToString(k.KeyId))
		if err != nil {
			return nil, err
		}
		keys = append(keys, listedKey{meta, names[aws.ToString(k.KeyId)]})
	}
	return keys, nil
}

func (a *app) printKeys(keys []listedKey) error {
	var rows [][]string
	for _, k := range keys {
		rows = append(rows, []string{
			aws.ToString(k.KeyId), string(k.KeyState), string(k.KeyManager),
			orDash(strings.Join(k.Aliases, ",")), aws.ToString(k.Description),
		})
	}
	return a.ui.Table([]string{"KEY ID", "STATE", "MANAGER", "ALIASES", "DESCRIPTION"}, rows)
}

// orDash stands in for an empty cell.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newKeyDescribeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "describe KEY",
		Short: "show a key's state and metadata",
		Args:  needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				meta, err := resolveKey(c.Context(), s, args[0])
				return show(a, "KeyMetadata", meta, err, a.printKey)
			})
		},
	}
}

func (a *app) printKey(k *types.KeyMetadata) error {
	return a.ui.Fields(
		"Key id", aws.ToString(k.KeyId),
		"ARN", aws.ToString(k.Arn),
		"State", string(k.KeyState),
		"Manager", string(k.KeyManager),
		"Description", aws.ToString(k.Description),
		"Spec", string(k.KeySpec),
		"Usage", string(k.KeyUsage),
		"Origin", string(k.Origin),
		"Key store", aws.ToString(k.CustomKeyStoreId),
		"Material", aws.ToString(k.CurrentKeyMaterialId),
		"Created", localTime(aws.ToTime(k.CreationDate)),
		"Material expires", localTime(aws.ToTime(k.ValidTo)),
		"Multi-Region", multiRegion(k.MultiRegionConfiguration),
		"Deletion", localTime(aws.ToTime(k.DeletionDate)))
}

// multiRegion tells where a multi-Region key and its relatives are.
func multiRegion(m *types.MultiRegionConfiguration) string {
	if m == nil {
		return ""
	}
	regions := []string{aws.ToString(m.PrimaryKey.Region) + " (primary)"}
	for _, r := range m.ReplicaKeys {
		regions = append(regions, aws.ToString(r.Region))
	}
	return strings.Join(regions, ", ")
}
