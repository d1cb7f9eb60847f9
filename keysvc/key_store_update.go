package keysvc

import (
	"context"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// UpdateCustomKeyStore changes the properties of a key store that is disconnected;
// name, and path and access key of a proxy, also of one that is connected.
func (s *Service) UpdateCustomKeyStore(ctx context.Context, in *kms.UpdateCustomKeyStoreInput, _ ...func(*kms.Options)) (*kms.UpdateCustomKeyStoreOutput, error) {
	return serve(s, ctx, opUpdateKeyStore, in, (*call).updateKeyStore)
}

func (c *call) updateKeyStore(in *kms.UpdateCustomKeyStoreInput) (*kms.UpdateCustomKeyStoreOutput, error) {
	c.text("customKeyStoreId", in.CustomKeyStoreId)
	c.text("newCustomKeyStoreName", in.NewCustomKeyStoreName)
	c.text("cloudHsmClusterId", in.CloudHsmClusterId)
	c.text("xksProxyUriEndpoint", in.XksProxyUriEndpoint)
	c.text("xksProxyUriPath", in.XksProxyUriPath)
	if err := c.authorizeAccount(); err != nil {
		return nil, err
	}
	before, err := c.keyStore(*in.CustomKeyStoreId)
	if err != nil {
		return nil, err
	}
	after, secret, err := c.revised(before, in)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	if err := c.try(&before, &after, secret, in); err != nil {
		return nil, err
	}
	if secret != nil {
		if err := c.s.sealSecret(c.ctx, &after, secret); err != nil {
			return nil, err
		}
	}
	_, err = c.changeKeyStore(c.ctx, before.ID, func(tx store.Tx, ks *store.KeyStore) error {
		if ks.Revision != before.Revision || ks.State != before.State {
			return refuse(KindKeyStoreState, "The custom key store %s was changed at the same time.", ks.ID)
		}
		*ks = after
		return c.roomFor(tx, ks)
	})
	return &kms.UpdateCustomKeyStoreOutput{}, err
}

// revised is the key store as the input wants it, and its new secret or nil.
func (c *call) revised(ks store.KeyStore, in *kms.UpdateCustomKeyStoreInput) (store.KeyStore, []byte, error) {
	if err := checkRevision(&ks, in); err != nil {
		return ks, nil, err
	}
	set := func(to *string, value *string) {
		if value != nil {
			*to = *value
		}
	}
	set(&ks.Name, in.NewCustomKeyStoreName)
	set(&ks.ClusterID, in.CloudHsmClusterId)
	set(&ks.XksEndpoint, in.XksProxyUriEndpoint)
	set(&ks.XksPath, in.XksProxyUriPath)
	var secret []byte
	if in.KeyStorePassword != nil {
		secret = []byte(*in.KeyStorePassword)
	}
	if credential := in.XksProxyAuthenticationCredential; credential != nil {
		set(&ks.XksAccessKey, credential.AccessKeyId)
		secret = []byte(*credential.RawSecretAccessKey)
	}
	if changesConnection(in) {
		ks.Revision++
	}
	return ks, secret, nil
}

// changesConnection tells whether an update makes open connections void.
func changesConnection(in *kms.UpdateCustomKeyStoreInput) bool {
	return in.KeyStorePassword != nil || in.CloudHsmClusterId != nil || in.XksProxyUriEndpoint != nil ||
		in.XksProxyUriPath != nil || in.XksProxyAuthenticationCredential != nil
}

// checkRevision refuses members of the other type, and changes that the key store's
// connection state forbids.
func checkRevision(ks *store.KeyStore, in *kms.UpdateCustomKeyStoreInput) error {
	external := ks.Type == types.CustomKeyStoreTypeExternalKeyStore
	ofCluster := in.KeyStorePassword != nil || in.CloudHsmClusterId != nil
	ofProxy := in.XksProxyUriEndpoint != nil || in.XksProxyUriPath != nil || in.XksProxyAuthenticationCredential != nil || in.XksProxyConnectivity != ""
	switch {
	case external && ofCluster, !external && ofProxy:
		return refuse(KindValidation, "The request has members that are not valid for a custom key store of the type %s.", ks.Type)
	case in.XksProxyConnectivity == types.XksProxyConnectivityTypeVpcEndpointService, in.XksProxyVpcEndpointServiceName != nil:
		return noVPC()
	case !ofCluster && !ofProxy && in.NewCustomKeyStoreName == nil:
		return refuse(KindValidation, "You must specify at least one property to change.")
	}
	whileConnected := !ofCluster && in.XksProxyUriEndpoint == nil && in.XksProxyConnectivity == ""
	if ks.State == types.ConnectionStateTypeDisconnected || whileConnected && ks.Connected() {
		return nil
	}
	return wrongConnectionState(ks)
}

// try makes sure that the key store works as the input wants it: a proxy must
// answer, and another cluster must hold the key store's keys.
func (c *call) try(before, after *store.KeyStore, secret []byte, in *kms.UpdateCustomKeyStoreInput) error {
	if !changesConnection(in) {
		return nil
	}
	if secret == nil {
		var err error
		if secret, err = c.s.openSecret(c.ctx, before); err != nil {
			return fromToken(err)
		}
		defer clear(secret)
	}
	if after.Type == types.CustomKeyStoreTypeExternalKeyStore {
		return c.probe(after, secret)
	}
	if after.ClusterID == before.ClusterID {
		return nil // AWS checks no password before it connects
	}
	if err := c.knownCluster(after.ClusterID); err != nil {
		return err
	}
	return c.related(after, secret)
}

// related refuses a cluster that lacks a key of the key store.
func (c *call) related(ks *store.KeyStore, pin []byte) error {
	backing, found, err := c.anyKeyIn(ks.ID)
	if err != nil || !found {
		return err
	}
	token, err := c.s.openCluster(c.ctx, ks.ClusterID, pin)
	if err != nil {
		return &Error{Kind: KindClusterConfiguration, Message: "The cluster's token can't be opened with the key store's password.", Err: err}
	}
	defer func() { _ = token.Close() }()
	has, err := token.HasKey(c.ctx, hsm.KeyID(backing))
	if err != nil {
		return fromToken(err)
	}
	if !has {
		return refuse(KindClusterNotRelated, "The cluster %s does not hold the keys of the custom key store.", ks.ClusterID)
	}
	return nil
}

// anyKeyIn returns the backing key of a key in a key store.
func (c *call) anyKeyIn(id string) (backing store.BackingID, found bool, err error) {
	err = c.s.config.Store.View(c.ctx, func(tx store.Tx) error {
		keys, err := tx.KeysInStore(c.ctx, c.scope, id, "", 1)
		if err != nil || len(keys) == 0 {
			return err
		}
		key, err := tx.Key(c.ctx, c.scope, keys[0])
		if err == nil && len(key.Materials) > 0 {
			backing, found = key.Materials[0].Backing, true
		}
		return err
	})
	return backing, found, err
}

// DeleteCustomKeyStore deletes a key store that is disconnected and has no keys, not
// even such as are pending deletion. The token or key manager stays as it is.
func (s *Service) DeleteCustomKeyStore(ctx context.Context, in *kms.DeleteCustomKeyStoreInput, _ ...func(*kms.Options)) (*kms.DeleteCustomKeyStoreOutput, error) {
	return serve(s, ctx, opDeleteKeyStore, in, (*call).deleteKeyStore)
}

func (c *call) deleteKeyStore(in *kms.DeleteCustomKeyStoreInput) (*kms.DeleteCustomKeyStoreOutput, error) {
	c.text("customKeyStoreId", in.CustomKeyStoreId)
	if err := c.authorizeAccount(); err != nil {
		return nil, err
	}
	ks, err := c.keyStore(aws.ToString(in.CustomKeyStoreId))
	if err != nil {
		return nil, err
	}
	err = c.s.config.Store.Update(c.ctx, func(tx store.Tx) error {
		now, err := tx.KeyStore(c.ctx, c.scope, ks.ID)
		if err != nil {
			return err
		}
		keys, err := tx.KeysInStore(c.ctx, c.scope, ks.ID, "", 1)
		switch {
		case err != nil:
			return err
		case len(keys) > 0:
			return refuse(KindKeyStoreHasKeys, "The custom key store %s has KMS keys. Schedule their deletion, wait until they are deleted, then try again.", ks.ID)
		case now.State != types.ConnectionStateTypeDisconnected:
			return wrongConnectionState(&now)
		}
		return tx.DeleteKeyStore(c.ctx, c.scope, ks.ID)
	})
	if err != nil {
		return nil, err
	}
	c.s.connections.drop(ks.Ref())
	if err := c.s.destroySecret(c.ctx, &ks); err != nil {
		c.s.config.Logger.Warn("the wrapping key of a deleted key store stays in the token", "keyStore", ks.ID, "error", err)
	}
	return &kms.DeleteCustomKeyStoreOutput{}, nil
}
