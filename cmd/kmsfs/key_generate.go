package main

import (
	"context"
	"encoding/base64"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

// dataKeyFlags are the flags of key data-key and key data-key-pair.
type dataKeyFlags struct {
	spec                     string
	bytes                    int32
	pairs                    map[string]string
	hidden                   bool
	out, sealedOut, publicTo string
}

func newKeyDataKeyCommand(a *app) *cobra.Command {
	var f dataKeyFlags
	c := &cobra.Command{
		Aliases: []string{"generate-data-key"},
		Use:     "data-key KEY [--bytes N] [--context K=V,...] [--out FILE] [--sealed-out FILE]",
		Short:   "make a data key, in plaintext and encrypted under a key",
		Long: `Makes a random key for use elsewhere. Without files both forms are printed in base64; key decrypt turns
the encrypted one into the plaintext again.`,
		Args: needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				if f.hidden {
					return f.dataKeyHidden(c.Context(), a, s, args[0])
				}
				return f.dataKey(c.Context(), a, s, args[0])
			})
		},
	}
	c.Flags().Int32Var(&f.bytes, "bytes", 32, "length of the key")
	f.add(c)
	return c
}

// add defines what both commands have.
func (f *dataKeyFlags) add(c *cobra.Command) {
	addContextFlag(c, &f.pairs)
	c.Flags().BoolVar(&f.hidden, "without-plaintext", false, "only encrypted, for later use")
	c.Flags().StringVar(&f.out, "out", "", "file for the plaintext")
	c.Flags().StringVar(&f.sealedOut, "sealed-out", "", "file for the encrypted form")
}

func (f *dataKeyFlags) dataKey(ctx context.Context, a *app, s keyClient, key string) error {
	out, err := s.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &key, NumberOfBytes: &f.bytes, EncryptionContext: f.pairs})
	if err != nil {
		return err
	}
	defer clear(out.Plaintext)
	return a.parts(out, part{"Plaintext", out.Plaintext, f.out}, part{"Encrypted", out.CiphertextBlob, f.sealedOut})
}

func (f *dataKeyFlags) dataKeyHidden(ctx context.Context, a *app, s keyClient, key string) error {
	out, err := s.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &key, NumberOfBytes: &f.bytes, EncryptionContext: f.pairs})
	if err != nil {
		return err
	}
	return a.parts(out, part{"Encrypted", out.CiphertextBlob, f.sealedOut})
}

// part is one of several byte strings of an answer.
type part struct {
	name  string
	bytes []byte
	file  string // "" = it is printed
}

// parts prints an answer as JSON, or writes its parts into files or as base64.
func (a *app) parts(out any, parts ...part) error {
	if a.json {
		return a.ui.JSON(out)
	}
	var shown []string
	for _, p := range parts {
		if p.file == "" {
			shown = append(shown, p.name, base64.StdEncoding.EncodeToString(p.bytes))
			continue
		}
		if err := a.writeBytes(p.file, p.bytes); err != nil {
			return err
		}
	}
	return a.ui.Fields(shown...)
}

func newKeyDataKeyPairCommand(a *app) *cobra.Command {
	var f dataKeyFlags
	c := &cobra.Command{
		Aliases: []string{"generate-data-key-pair"},
		Use:     "data-key-pair KEY [--spec SPEC] [--context K=V,...] [--out FILE] [--sealed-out FILE] [--public-out FILE]",
		Short:   "make a key pair, its private key also encrypted under a key",
		Long: `Makes a key pair for use elsewhere: the private key as PKCS #8 and the public key as SubjectPublicKeyInfo,
both DER. Without files all forms are printed in base64.`,
		Args: needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				if f.hidden {
					return f.pairHidden(c.Context(), a, s, args[0])
				}
				return f.pair(c.Context(), a, s, args[0])
			})
		},
	}
	c.Flags().StringVar(&f.spec, "spec", string(types.DataKeyPairSpecEccNistP256), "such as RSA_3072, ECC_NIST_P256, ECC_NIST_EDWARDS25519 or ML_KEM_768")
	c.Flags().StringVar(&f.publicTo, "public-out", "", "file for the public key")
	f.add(c)
	return c
}

func (f *dataKeyFlags) pair(ctx context.Context, a *app, s keyClient, key string) error {
	out, err := s.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: &key, KeyPairSpec: types.DataKeyPairSpec(f.spec), EncryptionContext: f.pairs})
	if err != nil {
		return err
	}
	defer clear(out.PrivateKeyPlaintext)
	return a.parts(out, part{"Private key", out.PrivateKeyPlaintext, f.out}, part{"Encrypted", out.PrivateKeyCiphertextBlob, f.sealedOut},
		part{"Public key", out.PublicKey, f.publicTo})
}

func (f *dataKeyFlags) pairHidden(ctx context.Context, a *app, s keyClient, key string) error {
	out, err := s.GenerateDataKeyPairWithoutPlaintext(ctx, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: &key, KeyPairSpec: types.DataKeyPairSpec(f.spec), EncryptionContext: f.pairs})
	if err != nil {
		return err
	}
	return a.parts(out, part{"Encrypted", out.PrivateKeyCiphertextBlob, f.sealedOut}, part{"Public key", out.PublicKey, f.publicTo})
}

func newKeyRandomCommand(a *app) *cobra.Command {
	var b bytesFlags
	c := &cobra.Command{
		Aliases: []string{"generate-random"},
		Use:     "random N [--out FILE]",
		Short:   "random bytes of the HSM, up to 1024",
		Args:    needArgs("N"),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := strconv.ParseInt(args[0], 10, 32)
			if err != nil {
				return usagef("N is %q, not a number", args[0])
			}
			return a.withKeys(c.Context(), func(s keyClient) error {
				out, err := s.GenerateRandom(c.Context(), &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(int32(n))})
				if err != nil {
					return err
				}
				defer clear(out.Plaintext)
				return a.result(out, b.out, out.Plaintext)
			})
		},
	}
	b.add(c, "", "the bytes")
	return c
}
