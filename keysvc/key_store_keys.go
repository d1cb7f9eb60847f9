package keysvc

import (
	"context"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// checkPlace refuses an input of CreateKey whose members about the key store don't
// fit each other, and kinds of keys that custom key stores don't have.
func checkPlace(in *kms.CreateKeyInput) error {
	inStore := in.Origin == types.OriginTypeAwsCloudhsm || in.Origin == types.OriginTypeExternalKeyStore
	switch {
	case inStore && in.CustomKeyStoreId == nil:
		return refuse(KindValidation, "Origin %s needs a CustomKeyStoreId.", in.Origin)
	case in.CustomKeyStoreId != nil && !inStore:
		return refuse(KindValidation, "CustomKeyStoreId needs the Origin AWS_CLOUDHSM or EXTERNAL_KEY_STORE.")
	case (in.XksKeyId != nil) != (in.Origin == types.OriginTypeExternalKeyStore):
		return refuse(KindValidation, "XksKeyId is required with the Origin EXTERNAL_KEY_STORE, and not valid with others.")
	case !inStore:
		return nil
	case specOf(in) != types.KeySpecSymmetricDefault:
		return refuse(KindUnsupported, "KeySpec %s is not supported in a custom key store.", specOf(in))
	case isSet(in.MultiRegion):
		return refuse(KindUnsupported, "Multi-Region keys are not supported in a custom key store.")
	}
	return nil
}

// placeKey puts a new key into the custom key store that the input names, if it
// names one.
func (c *call) placeKey(key *store.Key, in *kms.CreateKeyInput) error {
	if in.CustomKeyStoreId == nil {
		return nil
	}
	ks, err := c.keyStore(*in.CustomKeyStoreId)
	if err != nil {
		return err
	}
	if err := holdsOrigin(&ks, in.Origin); err != nil {
		return err
	}
	key.Origin, key.CustomKeyStoreID, key.KeyStore, key.XksKeyID = in.Origin, ks.ID, &ks, aws.ToString(in.XksKeyId)
	if !isExternal(key) {
		return nil
	}
	return c.checkExternalKey(key)
}

// holdsOrigin refuses a key store that isn't connected or is of another type.
func holdsOrigin(ks *store.KeyStore, origin types.OriginType) error {
	if string(ks.Type) != string(origin) {
		return refuse(KindValidation, "Origin %s is not valid for a custom key store of the type %s.", origin, ks.Type)
	}
	if !ks.Connected() {
		return wrongConnectionState(ks)
	}
	return nil
}

// stillThere makes sure, in the transaction that finishes a key, that nobody has
// taken its place meanwhile.
func (c *call) stillThere(tx store.Tx, key *store.Key) error {
	if key.CustomKeyStoreID == "" {
		return nil
	}
	if _, err := tx.KeyStore(c.ctx, c.scope, key.CustomKeyStoreID); err != nil {
		return keyStoreNotFound(key.CustomKeyStoreID)
	}
	if !isExternal(key) {
		return nil
	}
	users, err := tx.KeysInStore(c.ctx, c.scope, key.CustomKeyStoreID, key.XksKeyID, 2)
	if err == nil && len(users) > 1 {
		err = xksKeyInUse(key)
	}
	return err
}

// isExternal tells a key that an external key manager encrypts with too.
func isExternal(key *store.Key) bool { return key.Origin == types.OriginTypeExternalKeyStore }

// tokenOf returns the token that holds a key's backing keys: the service's own, also
// for keys in external key stores, or that of the key's AWS_CLOUDHSM key store.
func (s *Service) tokenOf(ctx context.Context, key *store.Key) (hsm.Token, error) {
	if key.Origin != types.OriginTypeAwsCloudhsm {
		return s.config.Token, nil
	}
	if !key.KeyStore.Connected() {
		return nil, refuse(KindInvalidState, "%s is unavailable.", keyARN(key.Scope, key.ID))
	}
	token, err := s.clusterToken(ctx, key.KeyStore)
	if err != nil {
		return nil, fromToken(err)
	}
	return token, nil
}

// destroyInStore destroys a key's backing keys in its key store's token. As at AWS,
// what can't be destroyed because the key store isn't connected stays there, and
// doesn't keep the key from being deleted.
func (s *Service) destroyInStore(ctx context.Context, key *store.Key) {
	if key.Origin != types.OriginTypeAwsCloudhsm {
		return
	}
	token, err := s.tokenOf(ctx, key)
	for _, m := range key.Materials {
		if err == nil {
			err = token.DestroyKey(ctx, hsm.KeyID(m.Backing))
		}
		if err != nil && !hsm.IsKind(err, hsm.KindKeyNotFound) {
			s.config.Logger.Warn("key material is left in a custom key store", "keyStore", key.CustomKeyStoreID,
				"key", keyARN(key.Scope, key.ID), "id", m.Backing.String(), "error", err)
		}
	}
}

// randomSource is the token that GenerateRandom takes its bytes from.
func (c *call) randomSource(id *string) (hsm.Token, error) {
	if id == nil {
		return c.s.config.Token, nil
	}
	ks, err := c.keyStore(*id)
	switch {
	case err != nil:
		return nil, err
	case ks.Type == types.CustomKeyStoreTypeExternalKeyStore:
		return nil, refuse(KindUnsupported, "GenerateRandom is not supported in an external key store.")
	case !ks.Connected():
		return nil, wrongConnectionState(&ks)
	}
	token, err := c.s.clusterToken(c.ctx, &ks)
	if err != nil {
		return nil, fromToken(err)
	}
	return token, nil
}

// place adds to a key's metadata where its material is.
func place(m *types.KeyMetadata, k *keySnapshot) {
	if k.CustomKeyStoreID == "" {
		return
	}
	m.CustomKeyStoreId = aws.String(k.CustomKeyStoreID)
	if isExternal(&k.Key) {
		m.XksKeyConfiguration = &types.XksKeyConfigurationType{Id: aws.String(k.XksKeyID)}
	} else if k.KeyStore != nil {
		m.CloudHsmClusterId = aws.String(k.KeyStore.ClusterID)
	}
}

// notInStore refuses what AWS doesn't support for keys in custom key stores.
func notInStore(k *keySnapshot) error {
	if k.CustomKeyStoreID == "" {
		return nil
	}
	return refuse(KindUnsupported, "%s origin is %s which is not valid for this operation.", k.arn, k.Origin)
}
