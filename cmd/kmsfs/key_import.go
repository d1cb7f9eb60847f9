package main

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/hsm/publickey"
)

const importLong = `Gives a key of origin EXTERNAL its material: 32 bytes for a symmetric key, 28 to 64 for HMAC, a PKCS #8
private key (PEM or DER) for key pairs. The material is wrapped here for a key of the HSM, so it crosses the
wire encrypted. Material that was wrapped elsewhere comes with --token and what key import-parameters
has made.`

// importFlags are the flags of key import.
type importFlags struct {
	bytesFlags
	token, description string
	expires            time.Duration
}

func newKeyImportCommand(a *app) *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import KEY [--in FILE] [--expires 720h] [--token FILE]",
		Short: "give a key material of your own",
		Long:  importLong,
		Example: `  kmsfs key create --alias alias/mine --origin EXTERNAL
  head -c 32 /dev/random >material && kmsfs key import alias/mine --in material`,
		Args: needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			material, err := a.readBytes(f.in)
			if err != nil {
				return err
			}
			defer clear(material)
			if block, _ := pem.Decode(material); block != nil {
				material = block.Bytes
				defer clear(material)
			}
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error { return f.run(c.Context(), a, s, id, material) })
		},
	}
	f.add(c, "the material", "")
	c.Flags().DurationVar(&f.expires, "expires", 0, "delete the material after this time, up to 8760h; the key is unusable then until it is imported again (default never)")
	c.Flags().StringVar(&f.token, "token", "", "import token of key import-parameters; the input is then wrapped already")
	c.Flags().StringVar(&f.description, "description", "", "what the material is")
	return c
}

func (f *importFlags) run(ctx context.Context, a *app, s keyClient, id *string, material []byte) error {
	in := &kms.ImportKeyMaterialInput{KeyId: id, ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire, KeyMaterialDescription: optional(f.description)}
	if f.expires > 0 {
		in.ExpirationModel, in.ValidTo = types.ExpirationModelTypeKeyMaterialExpires, aws.Time(time.Now().Add(f.expires))
	}
	var err error
	if f.token != "" {
		in.EncryptedKeyMaterial = material
		in.ImportToken, err = a.readBytes(f.token)
	} else {
		in.EncryptedKeyMaterial, in.ImportToken, err = wrapForImport(ctx, s, id, material)
	}
	if err != nil {
		return err
	}
	out, err := s.ImportKeyMaterial(ctx, in)
	if err != nil || !a.json {
		return err
	}
	return a.ui.JSON(out)
}

// wrapForImport wraps material of any length for a key that the HSM makes for the purpose.
func wrapForImport(ctx context.Context, s keyClient, id *string, material []byte) (wrapped, token []byte, err error) {
	if len(material) == 0 {
		return nil, nil, usagef("there is no material in the input")
	}
	p, err := s.GetParametersForImport(ctx, &kms.GetParametersForImportInput{KeyId: id,
		WrappingAlgorithm: types.AlgorithmSpecRsaAesKeyWrapSha256, WrappingKeySpec: types.WrappingKeySpecRsa3072})
	if err != nil {
		return nil, nil, err
	}
	key, err := publickey.Parse(p.PublicKey)
	if err != nil {
		return nil, nil, err
	}
	wrapped, err = key.WrapForImport(sha256.New(), material)
	return wrapped, p.ImportToken, err
}

func newKeyImportParametersCommand(a *app) *cobra.Command {
	var algorithm, spec, public, token string
	c := &cobra.Command{
		Aliases: []string{"get-parameters-for-import"},
		Use:     "import-parameters KEY --public-out FILE --token-out FILE",
		Short:   "what is needed to wrap key material elsewhere",
		Args:    needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				out, err := s.GetParametersForImport(c.Context(), &kms.GetParametersForImportInput{KeyId: id,
					WrappingAlgorithm: types.AlgorithmSpec(algorithm), WrappingKeySpec: types.WrappingKeySpec(spec)})
				if err != nil {
					return err
				}
				return a.parts(out, part{"Public key", out.PublicKey, public}, part{"Token", out.ImportToken, token})
			})
		},
	}
	c.Flags().StringVar(&algorithm, "algorithm", string(types.AlgorithmSpecRsaesOaepSha256), "how it is wrapped: RSAES_OAEP_SHA_1 or _256, RSA_AES_KEY_WRAP_SHA_1 or _256")
	c.Flags().StringVar(&spec, "spec", string(types.WrappingKeySpecRsa3072), "RSA_2048, RSA_3072 or RSA_4096")
	c.Flags().StringVar(&public, "public-out", "", "file for the public key, DER")
	c.Flags().StringVar(&token, "token-out", "", "file for the import token, good for 24 hours")
	return c
}

func newKeyDeleteMaterialCommand(a *app) *cobra.Command {
	var material string
	c := &cobra.Command{
		Aliases: []string{"delete-imported-key-material"},
		Use:     "delete-material KEY [--material ID]",
		Short:   "delete imported material; the key is unusable until it is imported again",
		Args:    needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				_, err := s.DeleteImportedKeyMaterial(c.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: id, KeyMaterialId: optional(material)})
				return err
			})
		},
	}
	c.Flags().StringVar(&material, "material", "", "of several materials, this one")
	return c
}
