package main

import (
	"context"
	"encoding/pem"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

// signFlags are the flags of the commands that sign and verify.
type signFlags struct {
	bytesFlags
	algorithm string
	digest    bool
	signature string
}

// add defines them. verifying names what is verified, "" if nothing is.
func (f *signFlags) add(c *cobra.Command, out, verifying string) {
	f.bytesFlags.add(c, "the message, up to 4 KiB", out)
	c.Flags().StringVar(&f.algorithm, "algorithm", "", "such as ECDSA_SHA_256 or HMAC_SHA_256 (default the key's first)")
	if verifying != "" {
		c.Flags().StringVar(&f.signature, verifying, "", "file with the "+verifying+" (required)")
	}
}

func (f *signFlags) addDigest(c *cobra.Command) {
	c.Flags().BoolVar(&f.digest, "digest", false, "the input is the message's digest, not the message")
}

func (f *signFlags) messageType() types.MessageType {
	if f.digest {
		return types.MessageTypeDigest
	}
	return types.MessageTypeRaw
}

// signingAlgorithm is the one that was asked for, else the key's first.
func (f *signFlags) signingAlgorithm(ctx context.Context, s keyClient, key string) (types.SigningAlgorithmSpec, error) {
	if f.algorithm != "" {
		return types.SigningAlgorithmSpec(f.algorithm), nil
	}
	meta, err := resolveKey(ctx, s, key)
	switch {
	case err != nil:
		return "", err
	case len(meta.SigningAlgorithms) == 0:
		return "", failf(exitUsage, "make one: kmsfs key create --spec ECC_NIST_P256", "key %s is not for signing", key)
	}
	return meta.SigningAlgorithms[0], nil
}

// macAlgorithm is the one that was asked for, else the key's only one.
func (f *signFlags) macAlgorithm(ctx context.Context, s keyClient, key string) (types.MacAlgorithmSpec, error) {
	if f.algorithm != "" {
		return types.MacAlgorithmSpec(f.algorithm), nil
	}
	meta, err := resolveKey(ctx, s, key)
	switch {
	case err != nil:
		return "", err
	case len(meta.MacAlgorithms) == 0:
		return "", failf(exitUsage, "make one: kmsfs key create --spec HMAC_256", "key %s is not for MACs", key)
	}
	return meta.MacAlgorithms[0], nil
}

// onMessage is a command on a key and a message.
func (a *app) onMessage(f *signFlags, run func(ctx context.Context, s keyClient, key string, message []byte) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		message, err := a.readBytes(f.in)
		if err != nil {
			return err
		}
		return a.withKeys(c.Context(), func(s keyClient) error { return run(c.Context(), s, args[0], message) })
	}
}

func newKeySignCommand(a *app) *cobra.Command {
	var f signFlags
	c := &cobra.Command{Use: "sign KEY [--algorithm A] [--digest] [--in FILE] [--out FILE]", Short: "sign a message", Args: needArgs("KEY"),
		RunE: a.onMessage(&f, func(ctx context.Context, s keyClient, key string, message []byte) error {
			algorithm, err := f.signingAlgorithm(ctx, s, key)
			if err != nil {
				return err
			}
			out, err := s.Sign(ctx, &kms.SignInput{KeyId: &key, Message: message, MessageType: f.messageType(), SigningAlgorithm: algorithm})
			if err != nil {
				return err
			}
			return a.result(out, f.out, out.Signature)
		})}
	f.add(c, "the signature", "")
	f.addDigest(c)
	return c
}

func newKeyVerifyCommand(a *app) *cobra.Command {
	var f signFlags
	c := &cobra.Command{Use: "verify KEY --signature FILE [--algorithm A] [--digest] [--in FILE]", Short: "verify a signature; fails unless it is right", Args: needArgs("KEY"),
		RunE: a.onMessage(&f, func(ctx context.Context, s keyClient, key string, message []byte) error {
			signature, err := a.toVerify(&f, "signature")
			if err != nil {
				return err
			}
			algorithm, err := f.signingAlgorithm(ctx, s, key)
			if err != nil {
				return err
			}
			out, err := s.Verify(ctx, &kms.VerifyInput{KeyId: &key, Message: message, MessageType: f.messageType(), SigningAlgorithm: algorithm, Signature: signature})
			if err != nil {
				return err
			}
			return a.verified(out, "signature")
		})}
	f.add(c, "", "signature")
	f.addDigest(c)
	return c
}

func newKeyMACCommand(a *app) *cobra.Command {
	var f signFlags
	c := &cobra.Command{Aliases: []string{"generate-mac"}, Use: "mac KEY [--algorithm A] [--in FILE] [--out FILE]", Short: "make the HMAC of a message", Args: needArgs("KEY"),
		RunE: a.onMessage(&f, func(ctx context.Context, s keyClient, key string, message []byte) error {
			algorithm, err := f.macAlgorithm(ctx, s, key)
			if err != nil {
				return err
			}
			out, err := s.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: &key, Message: message, MacAlgorithm: algorithm})
			if err != nil {
				return err
			}
			return a.result(out, f.out, out.Mac)
		})}
	f.add(c, "the MAC", "")
	return c
}

func newKeyVerifyMACCommand(a *app) *cobra.Command {
	var f signFlags
	c := &cobra.Command{Use: "verify-mac KEY --mac FILE [--algorithm A] [--in FILE]", Short: "verify an HMAC; fails unless it is right", Args: needArgs("KEY"),
		RunE: a.onMessage(&f, func(ctx context.Context, s keyClient, key string, message []byte) error {
			mac, err := a.toVerify(&f, "mac")
			if err != nil {
				return err
			}
			algorithm, err := f.macAlgorithm(ctx, s, key)
			if err != nil {
				return err
			}
			out, err := s.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: &key, Message: message, MacAlgorithm: algorithm, Mac: mac})
			if err != nil {
				return err
			}
			return a.verified(out, "MAC")
		})}
	f.add(c, "", "mac")
	return c
}

// toVerify reads what is to be verified.
func (a *app) toVerify(f *signFlags, flag string) ([]byte, error) {
	if f.signature == "" {
		return nil, usagef("--%s is missing", flag)
	}
	return a.readBytes(f.signature)
}

func (a *app) verified(out any, what string) error {
	if a.json {
		return a.ui.JSON(out)
	}
	a.ui.Line("the %s is right", what)
	return nil
}

func newKeyPublicKeyCommand(a *app) *cobra.Command {
	var b bytesFlags
	c := &cobra.Command{Aliases: []string{"get-public-key"}, Use: "public-key KEY [--out FILE]", Short: "print the public key of a key pair, PEM", Args: needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				out, err := s.GetPublicKey(c.Context(), &kms.GetPublicKeyInput{KeyId: &args[0]})
				if err != nil {
					return err
				}
				text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: out.PublicKey})
				if b.out == "-" && !a.json {
					return a.ui.Raw(text)
				}
				return a.result(out, b.out, text)
			})
		}}
	b.add(c, "", "the public key")
	return c
}

func newKeyDeriveCommand(a *app) *cobra.Command {
	var b bytesFlags
	c := &cobra.Command{Use: "derive-shared-secret KEY [--in FILE] [--out FILE]", Short: "agree on a secret with the holder of another key pair (ECDH)", Args: needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			peer, err := a.readPublicKey(b.in)
			if err != nil {
				return err
			}
			return a.withKeys(c.Context(), func(s keyClient) error {
				out, err := s.DeriveSharedSecret(c.Context(), &kms.DeriveSharedSecretInput{KeyId: &args[0], PublicKey: peer, KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh})
				if err != nil {
					return err
				}
				defer clear(out.SharedSecret)
				return a.result(out, b.out, out.SharedSecret)
			})
		}}
	b.add(c, "the other one's public key, PEM or DER", "the secret")
	return c
}
