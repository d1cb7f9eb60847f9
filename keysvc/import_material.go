package keysvc

import (
	"context"
	"fmt"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// longestValidity is how far in the future ValidTo may be.
const longestValidity = 365 * day

// ImportKeyMaterial puts material that was made elsewhere into the token, wrapped
// for it, and makes the key usable. Material that the key had before is recognised
// by a value that only the same material gives.
func (s *Service) ImportKeyMaterial(ctx context.Context, in *kms.ImportKeyMaterialInput, _ ...func(*kms.Options)) (*kms.ImportKeyMaterialOutput, error) {
	return serve(s, ctx, opImportKeyMaterial, in, (*call).importKeyMaterial)
}

func (c *call) importKeyMaterial(in *kms.ImportKeyMaterialInput) (*kms.ImportKeyMaterialOutput, error) {
	c.importParams(in)
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	if err := checkImports(&k.Key); err != nil {
		return nil, err
	}
	if err := c.checkValidity(in); err != nil {
		return nil, err
	}
	kind, err := importKind(k, in)
	if err != nil {
		return nil, err
	}
	i, err := c.wrappingKey(k, in.ImportToken)
	if err != nil {
		return nil, err
	}
	m, err := c.newImport(k, in, kind)
	if err != nil {
		return nil, err
	}
	w := c.wrapped(k, i, in.EncryptedKeyMaterial)
	if kind == types.ImportTypeNewKeyMaterial {
		err = c.importNew(k, m, w)
	} else {
		m, err = c.importAgain(k, in, m, w)
	}
	if err != nil {
		return nil, err
	}
	id := importedMaterialID(k, m)
	c.response = audit.Params{"keyId": k.arn, "keyMaterialId": materialID(k.ID, m.Backing)}
	return &kms.ImportKeyMaterialOutput{KeyId: aws.String(k.arn), KeyMaterialId: id}, nil
}

// importedMaterialID is the KeyMaterialId that is shown, of symmetric keys only.
func importedMaterialID(k *keySnapshot, m store.Material) *string {
	if !isSymmetric(&k.Key) {
		return nil
	}
	return aws.String(materialID(k.ID, m.Backing))
}

// importParams records the members of ImportKeyMaterial.
func (c *call) importParams(in *kms.ImportKeyMaterialInput) {
	c.text("keyId", in.KeyId)
	word(c, "expirationModel", in.ExpirationModel)
	word(c, "importType", in.ImportType)
	c.text("keyMaterialId", in.KeyMaterialId)
	c.text("keyMaterialDescription", in.KeyMaterialDescription)
	if in.ValidTo != nil {
		c.params["validTo"] = in.ValidTo.UTC().Format(time.RFC3339)
	}
}

// checkValidity refuses a date that is missing, superfluous or out of range.
func (c *call) checkValidity(in *kms.ImportKeyMaterialInput) error {
	if in.ExpirationModel == types.ExpirationModelTypeKeyMaterialDoesNotExpire {
		if in.ValidTo != nil {
			return refuse(KindValidation, "A validTo date can't be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE")
		}
		return nil
	}
	switch {
	case in.ValidTo == nil:
		return refuse(KindValidation, "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
	case !in.ValidTo.After(c.now):
		return refuse(KindValidation, "The validTo date must be in the future.")
	case in.ValidTo.After(c.now.Add(longestValidity)):
		return refuse(KindValidation, "The validTo date can be at most 365 days in the future.")
	}
	return nil
}

// importKind is the kind of an import, which by default depends on whether there was
// one before.
func importKind(k *keySnapshot, in *kms.ImportKeyMaterialInput) (types.ImportType, error) {
	kind := in.ImportType
	first := k.Current() == nil
	if kind == "" {
		kind = types.ImportTypeExistingKeyMaterial
		if first {
			kind = types.ImportTypeNewKeyMaterial
		}
	}
	isNew := kind == types.ImportTypeNewKeyMaterial
	switch {
	case isNew && in.KeyMaterialId != nil:
		return kind, refuse(KindValidation, "A KeyMaterialId can't be specified if the ImportType is NEW_KEY_MATERIAL")
	case isNew && !first && !isSymmetric(&k.Key):
		return kind, refuse(KindUnsupported, "%s key spec is %s, whose key material can't be replaced.", k.arn, k.Spec)
	case isNew && !first && isReplica(&k.Key):
		return kind, notOfReplicas(k.arn)
	case !isNew && first:
		return kind, refuse(KindValidation, "There is no existing key material of the key %s.", k.arn)
	}
	return kind, nil
}

// notOfReplicas refuses new material for a replica key.
func notOfReplicas(arn string) error {
	return refuse(KindUnsupported, "%s is a multi-region replica key, to which new key material comes by its primary key.", arn)
}

// newImport stores that material is being imported, under a backing key of its own.
func (c *call) newImport(k *keySnapshot, in *kms.ImportKeyMaterialInput, kind types.ImportType) (store.Material, error) {
	m := c.s.newMaterial(1)
	m.Description = aws.ToString(in.KeyMaterialDescription)
	if in.ValidTo != nil {
		m.Expires = in.ValidTo.UTC().Truncate(time.Millisecond)
	}
	err := c.s.update(c.ctx, k.Ref(), func(_ store.Tx, key *store.Key) error {
		if err := c.op.checkState(newSnapshot(*key, 0)); err != nil {
			return err
		}
		if kind == types.ImportTypeNewKeyMaterial {
			if err := checkNew(k, key, m.Backing); err != nil {
				return err
			}
		}
		m.Number = nextNumber(key)
		key.Materials = append(key.Materials, m)
		return nil
	})
	return m, err
}

// checkNew refuses new material for a key that has got other material since the call
// saw it as k, or whose other new material waits for rotation.
func checkNew(k *keySnapshot, key *store.Key, backing store.BackingID) error {
	if (k.Current() == nil) != (key.Current() == nil) {
		return refuse(KindInvalidState, "Other key material was imported into the key %s at the same time.", k.arn)
	}
	if isReplica(key) {
		return notOfReplicas(k.arn)
	}
	for _, other := range key.Materials {
		if isPending(&other) {
			return refuse(KindInvalidState, "New key material (id: %s) cannot be imported into KMS key %s, because another key material (id: %s) is pending rotation.",
				materialID(key.ID, backing), k.arn, materialID(key.ID, other.Backing))
		}
	}
	return nil
}

// wrapped is what the token unwraps.
func (c *call) wrapped(k *keySnapshot, i store.Import, encrypted []byte) hsm.WrappedKey {
	how := wrappingAlgorithms[i.Algorithm]
	return hsm.WrappedKey{
		Type: made(&k.Key), Purpose: purposes[k.Usage], By: hsm.KeyID(i.Backing),
		Hash: how.hash, AESKeyWrap: how.aesKeyWrap, Wrapped: encrypted,
	}
}

// unwrap imports into the token and returns what recognises the material.
func (c *call) unwrap(k *keySnapshot, m store.Material, w hsm.WrappedKey) ([]byte, error) {
	err := c.s.config.Token.ImportKey(c.ctx, hsm.KeyID(m.Backing), w, fmt.Sprintf("kms/%s/%d", k.ID, m.Number))
	if c.s.config.Token.Capabilities().HostUnwrap && w.Hash == wrappingAlgorithms[types.AlgorithmSpecRsaesOaepSha256].hash {
		c.details("keyMaterialUnwrappedInProcess", true)
	}
	switch {
	case hsm.IsKind(err, hsm.KindInvalidArgument):
		return nil, &Error{Kind: KindIncorrectKeyMaterial, Message: "The key material is not that of key spec " + string(k.Spec) + ".", Err: err}
	case hsm.IsKind(err, hsm.KindUnsupported):
		return nil, lacking(err, "Importing material of key spec %s", k.Spec)
	case err != nil:
		return nil, fromToken(err)
	}
	return c.s.checkValue(c.ctx, &k.Key, m.Backing)
}

// importNew imports material that becomes current, or if there is a current one,
// waits for rotation.
func (c *call) importNew(k *keySnapshot, m store.Material, w hsm.WrappedKey) error {
	check, err := c.unwrap(k, m, w)
	if err == nil {
		err = c.s.update(c.ctx, k.Ref(), func(_ store.Tx, key *store.Key) error {
			if err := checkNew(k, key, m.Backing); err != nil {
				return err
			}
			return finishImport(key, m.Backing, func(stored *store.Material) {
				stored.Check, stored.Import = check, types.ImportStateImported
				if key.Current() != nil {
					stored.State = store.MaterialPending
				} else {
					stored.State = store.MaterialCurrent
				}
			})
		})
	}
	if err != nil {
		return c.s.giveUp(c.ctx, k.Ref(), m.Backing, err)
	}
	return nil
}

// finishImport changes a stored material and the key's state with it.
func finishImport(key *store.Key, backing store.BackingID, change func(*store.Material)) error {
	for i := range key.Materials {
		if m := &key.Materials[i]; m.Backing == backing {
			change(m)
			settle(key)
			return nil
		}
	}
	return refuse(KindInvalidState, "The import into the key %s was given up.", keyARN(key.Scope, key.ID))
}

// importAgain imports material that the key had before, whose expiry may change. It
// is first imported under an id of its own, to be recognised, which m names.
func (c *call) importAgain(k *keySnapshot, in *kms.ImportKeyMaterialInput, m store.Material, w hsm.WrappedKey) (store.Material, error) {
	known, err := c.recognise(k, in, m, w)
	if err == nil {
		ctx, cancel := c.s.detached(c.ctx) // what the token has by then must not stay there as deleted
		defer cancel()
		err = c.s.update(ctx, k.Ref(), func(_ store.Tx, key *store.Key) error {
			err := finishImport(key, known.Backing, func(stored *store.Material) {
				stored.Import, stored.Expires = types.ImportStateImported, m.Expires
				if m.Description != "" {
					stored.Description = m.Description
				}
			})
			if err != nil {
				return err
			}
			return c.restore(ctx, k, known, w)
		})
	}
	return known, c.s.giveUp(c.ctx, k.Ref(), m.Backing, err)
}

// restore puts the same bytes under the id that ciphertexts name, unless the token has
// them: a related key may, or a call that ended here. It runs in the transaction that
// says so, as what is taken away is destroyed in one.
func (c *call) restore(ctx context.Context, k *keySnapshot, known store.Material, w hsm.WrappedKey) error {
	err := c.s.config.Token.ImportKey(ctx, hsm.KeyID(known.Backing), w, fmt.Sprintf("kms/%s/%d", k.ID, known.Number))
	if err == nil || hsm.IsKind(err, hsm.KindKeyExists) {
		return nil
	}
	return fromToken(err)
}

// recognise finds which of the key's materials was imported as m: the one that the
// input names, else any.
func (c *call) recognise(k *keySnapshot, in *kms.ImportKeyMaterialInput, m store.Material, w hsm.WrappedKey) (store.Material, error) {
	if _, err := c.unwrap(k, m, w); err != nil {
		return store.Material{}, err
	}
	for _, known := range k.Materials {
		if len(known.Check) == 0 || in.KeyMaterialId != nil && *in.KeyMaterialId != materialID(k.ID, known.Backing) {
			continue
		}
		same, err := c.s.isSame(c.ctx, &k.Key, m.Backing, known.Check)
		if err != nil || same {
			return known, err
		}
	}
	return store.Material{}, &Error{Kind: KindIncorrectKeyMaterial, Message: "The key material in the request is not the key material that was imported into the key " + k.arn + " before."}
}
