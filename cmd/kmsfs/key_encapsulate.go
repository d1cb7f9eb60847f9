package main

import (
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

func newKeyEncapsulateCommand(a *app) *cobra.Command {
	var out, sealed string
	c := &cobra.Command{
		Use:   "encapsulate KEY [--out FILE] [--sealed-out FILE]",
		Short: "make a secret and send it to the holder of a key pair (ML-KEM)",
		Long: `Makes a secret of 32 bytes and its encapsulated form, which only key decapsulate with the same key turns
into the secret. Keys for it (ML_KEM_512, ML_KEM_768, ML_KEM_1024) are there at AWS KMS; no HSM that kmsfs knows has them.`,
		Args: needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withKeys(c.Context(), func(s keyClient) error {
				made, err := s.Encapsulate(c.Context(), &kms.EncapsulateInput{KeyId: &args[0], EncapsulationAlgorithm: types.EncapsulationAlgorithmSpecMlKem})
				if err != nil {
					return err
				}
				defer clear(made.SharedSecret)
				return a.parts(made, part{"Secret", made.SharedSecret, out}, part{"Encapsulated", made.SharedSecretCiphertextBlob, sealed})
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "file for the secret")
	c.Flags().StringVar(&sealed, "sealed-out", "", "file for the encapsulated form")
	return c
}

func newKeyDecapsulateCommand(a *app) *cobra.Command {
	var b bytesFlags
	c := &cobra.Command{
		Use:   "decapsulate KEY [--in FILE] [--out FILE]",
		Short: "recover an encapsulated secret (ML-KEM)",
		Args:  needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			sealed, err := a.readBytes(b.in)
			if err != nil {
				return err
			}
			return a.withKeys(c.Context(), func(s keyClient) error {
				out, err := s.Decapsulate(c.Context(), &kms.DecapsulateInput{KeyId: &args[0], EncapsulationAlgorithm: types.EncapsulationAlgorithmSpecMlKem, SharedSecretCiphertextBlob: sealed})
				if err != nil {
					return err
				}
				defer clear(out.SharedSecret)
				return a.result(out, b.out, out.SharedSecret)
			})
		},
	}
	b.add(c, "the encapsulated secret", "the secret")
	return c
}
