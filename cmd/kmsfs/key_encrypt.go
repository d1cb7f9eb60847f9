package main

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

// addContextFlag defines --context.
func addContextFlag(c *cobra.Command, to *map[string]string) {
	c.Flags().StringToStringVar(to, "context", nil, "encryption context, K=V,...; what is encrypted with one decrypts with the same one only")
}

func newKeyEncryptCommand(a *app) *cobra.Command {
	var b bytesFlags
	var pairs map[string]string
	var algorithm string
	c := &cobra.Command{
		Use:   "encrypt KEY [--context K=V,...] [--in FILE] [--out FILE]",
		Short: "encrypt up to 4 KiB under a key",
		Example: `  kmsfs key encrypt alias/app --context purpose=backup --in password --out password.sealed
  kmsfs key decrypt --context purpose=backup --in password.sealed`,
		Args: needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			plaintext, err := a.readBytes(b.in)
			if err != nil {
				return err
			}
			defer clear(plaintext)
			return a.withKeys(c.Context(), func(s keyClient) error {
				chosen, err := encryptionAlgorithm(c.Context(), s, args[0], algorithm)
				if err != nil {
					return err
				}
				out, err := s.Encrypt(c.Context(), &kms.EncryptInput{KeyId: &args[0], Plaintext: plaintext, EncryptionContext: pairs, EncryptionAlgorithm: chosen})
				if err != nil {
					return err
				}
				return a.result(out, b.out, out.CiphertextBlob)
			})
		},
	}
	b.add(c, "what to encrypt", "the ciphertext")
	addContextFlag(c, &pairs)
	c.Flags().StringVar(&algorithm, "algorithm", "", "such as RSAES_OAEP_SHA_256 (default the key's strongest)")
	return c
}

// encryptionAlgorithm is the one that was asked for, else the last of the key's list: SHA-256 rather
// than SHA-1.
func encryptionAlgorithm(ctx context.Context, s keyClient, key, asked string) (types.EncryptionAlgorithmSpec, error) {
	if asked != "" {
		return types.EncryptionAlgorithmSpec(asked), nil
	}
	meta, err := resolveKey(ctx, s, key)
	if err != nil || len(meta.EncryptionAlgorithms) == 0 {
		return "", err
	}
	return meta.EncryptionAlgorithms[len(meta.EncryptionAlgorithms)-1], nil
}

// result prints an operation's output as JSON, or writes the bytes that matter of it.
func (a *app) result(out any, path string, p []byte) error {
	if a.json {
		return a.ui.JSON(out)
	}
	return a.writeBytes(path, p)
}

func newKeyDecryptCommand(a *app) *cobra.Command {
	var b bytesFlags
	var pairs map[string]string
	var key, algorithm string
	c := &cobra.Command{
		Use:   "decrypt [--key-id KEY] [--context K=V,...] [--in FILE] [--out FILE]",
		Short: "decrypt what a key has encrypted",
		Args:  needArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			ciphertext, err := a.readBytes(b.in)
			if err != nil {
				return err
			}
			return a.withKeys(c.Context(), func(s keyClient) error {
				in := &kms.DecryptInput{KeyId: optional(key), CiphertextBlob: ciphertext, EncryptionContext: pairs}
				if key != "" {
					if in.EncryptionAlgorithm, err = encryptionAlgorithm(c.Context(), s, key, algorithm); err != nil {
						return err
					}
				}
				out, err := s.Decrypt(c.Context(), in)
				if err != nil {
					return err
				}
				defer clear(out.Plaintext)
				return a.result(out, b.out, out.Plaintext)
			})
		},
	}
	b.add(c, "the ciphertext", "the plaintext")
	addContextFlag(c, &pairs)
	c.Flags().StringVar(&key, "key-id", "", "the KEY; a ciphertext of a symmetric key names its own")
	c.Flags().StringVar(&algorithm, "algorithm", "", "with --key-id: the algorithm that encrypted it (default the key's strongest)")
	return c
}

func newKeyReEncryptCommand(a *app) *cobra.Command {
	var b bytesFlags
	var from, to map[string]string
	var source string
	c := &cobra.Command{
		Use:   "re-encrypt KEY [--context K=V,...] [--to-context K=V,...] [--in FILE] [--out FILE]",
		Short: "encrypt a ciphertext under another key, without showing what is in it",
		Args:  needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			ciphertext, err := a.readBytes(b.in)
			if err != nil {
				return err
			}
			return a.withKeys(c.Context(), func(s keyClient) error {
				out, err := s.ReEncrypt(c.Context(), &kms.ReEncryptInput{CiphertextBlob: ciphertext, SourceKeyId: optional(source),
					DestinationKeyId: aws.String(args[0]), SourceEncryptionContext: from, DestinationEncryptionContext: to})
				if err != nil {
					return err
				}
				return a.result(out, b.out, out.CiphertextBlob)
			})
		},
	}
	b.add(c, "the ciphertext", "the new ciphertext")
	addContextFlag(c, &from)
	c.Flags().StringToStringVar(&to, "to-context", nil, "encryption context of the new ciphertext")
	c.Flags().StringVar(&source, "source-key-id", "", "the KEY that has encrypted it; a ciphertext of a symmetric key names its own")
	return c
}
