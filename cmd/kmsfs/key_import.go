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
has made.

A key that has material takes the same again, after it was deleted or to let it expire at another time. A symmetric
key also takes new material, with --import-type NEW_KEY_MATERIAL: what it has encrypted stays readable with the old, and
kmsfs key rotate makes it encrypt with the new. Of a multi-Region key, new material goes to the primary key first, then
to every replica. kmsfs key rotation list --all shows what material a key has.`

// importFlags are the flags of key import.
type importFlags struct {
	bytesFlags
	token, description string
	kind, material     string
	expires            time.Duration
	validTo            string
}

func newKeyImportCommand(a *app) *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import KEY [--in FILE] [--import-type TYPE] [--material ID] [--expires 720h | --valid-to TIME] [--description TEXT] [--token FILE]",
		Short: "give a key material of your own",
		Long:  importLong,
		Example: `  kmsfs key create --alias alias/mine --origin EXTERNAL
  head -c 32 /dev/random >material && kmsfs key import alias/mine --in material
  kmsfs key import alias/mine --in newer --import-type NEW_KEY_MATERIAL && kmsfs key rotate alias/mine`,
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
	c.Flags().StringVar(&f.validTo, "valid-to", "", "the same as a time, such as 2026-12-31T12:00:00Z")
	c.Flags().StringVar(&f.kind, "import-type", "", "NEW_KEY_MATERIAL or EXISTING_KEY_MATERIAL (default new for a key that never had material, else existing)")
	c.Flags().StringVar(&f.material, "material", "", "which of several materials it is, an id; the import fails if it is another")
	c.Flags().StringVar(&f.token, "token", "", "import token of key import-parameters; the input is then wrapped already")
	c.Flags().StringVar(&f.description, "description", "", "what the material is")
	return c
}

func (f *importFlags) run(ctx context.Context, a *app, s keyClient, id *string, material []byte) error {
	in := &kms.ImportKeyMaterialInput{KeyId: id, ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire,
		ImportType: types.ImportType(f.kind), KeyMaterialId: optional(f.material), KeyMaterialDescription: optional(f.description)}
	if _, err := f.end(time.Now()); err != nil {
		return err
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
	if end, _ := f.end(time.Now()); end != nil { // from now: the HSM has taken its time to make a wrapping key
		in.ExpirationModel, in.ValidTo = types.ExpirationModelTypeKeyMaterialExpires, end
	}
	out, err := s.ImportKeyMaterial(ctx, in)
	if err != nil || !a.json {
		return err
	}
	return a.ui.JSON(out)
}

// end is when the material expires, nil for never.
func (f *importFlags) end(now time.Time) (*time.Time, error) {
	switch {
	case f.validTo != "" && f.expires > 0:
		return nil, usagef("--expires and --valid-to say the same; give one of them")
	case f.validTo != "":
		end, err := time.Parse(time.RFC3339, f.validTo)
		if err != nil {
			return nil, usagef("--valid-to %q is no time such as 2026-12-31T12:00:00Z", f.validTo)
		}
		return &end, nil
	case f.expires > 0:
		return aws.Time(now.Add(f.expires)), nil
	}
	return nil, nil
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
