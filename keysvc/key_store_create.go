package keysvc

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/audit"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// maxKeyStores is AWS's quota of custom key stores in an account and region.
const maxKeyStores = 10

// CreateCustomKeyStore makes a custom key store, which is disconnected at first: a
// second token, which the service's configuration knows as a cluster, or an
// external key manager behind a proxy, which must answer now.
func (s *Service) CreateCustomKeyStore(ctx context.Context, in *kms.CreateCustomKeyStoreInput, _ ...func(*kms.Options)) (*kms.CreateCustomKeyStoreOutput, error) {
	return serve(s, ctx, opCreateKeyStore, in, (*call).createKeyStore)
}

func (c *call) createKeyStore(in *kms.CreateCustomKeyStoreInput) (*kms.CreateCustomKeyStoreOutput, error) {
	c.text("customKeyStoreName", in.CustomKeyStoreName)
	word(c, "customKeyStoreType", in.CustomKeyStoreType)
	c.text("cloudHsmClusterId", in.CloudHsmClusterId)
	c.text("xksProxyUriEndpoint", in.XksProxyUriEndpoint)
	c.text("xksProxyUriPath", in.XksProxyUriPath)
	word(c, "xksProxyConnectivity", in.XksProxyConnectivity)
	if err := c.authorizeAccount(); err != nil {
		return nil, err
	}
	ks := c.newKeyStore(in)
	secret, err := c.specify(&ks, in)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	if err := c.s.config.Store.View(c.ctx, func(tx store.Tx) error { return c.roomFor(tx, &ks) }); err != nil {
		return nil, err
	}
	if err := c.probe(&ks, secret); err != nil {
		return nil, err
	}
	if err := c.putNewKeyStore(&ks, secret); err != nil {
		return nil, err
	}
	c.response = audit.Params{"customKeyStoreId": ks.ID}
	return &kms.CreateCustomKeyStoreOutput{CustomKeyStoreId: aws.String(ks.ID)}, nil
}

func (c *call) newKeyStore(in *kms.CreateCustomKeyStoreInput) store.KeyStore {
	var id [9]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	return store.KeyStore{
		Scope: c.scope, ID: "cks-" + hex.EncodeToString(id[:])[:17], Name: *in.CustomKeyStoreName,
		Type:  types.CustomKeyStoreType(fallback(string(in.CustomKeyStoreType), string(types.CustomKeyStoreTypeAwsCloudhsm))),
		State: types.ConnectionStateTypeDisconnected, Revision: 1, Backing: store.BackingID(hsm.NewKeyID()),
		Created: c.now.UTC().Truncate(time.Millisecond),
	}
}

// specify fills in what belongs to the key store's type, and returns its secret.
func (c *call) specify(ks *store.KeyStore, in *kms.CreateCustomKeyStoreInput) ([]byte, error) {
	if ks.Type == types.CustomKeyStoreTypeExternalKeyStore {
		if in.CloudHsmClusterId != nil || in.KeyStorePassword != nil || in.TrustAnchorCertificate != nil {
			return nil, refuse(KindValidation, "CloudHsmClusterId, KeyStorePassword and TrustAnchorCertificate are not valid for an external key store.")
		}
		return c.specifyProxy(ks, in)
	}
	if in.XksProxyUriEndpoint != nil || in.XksProxyUriPath != nil || in.XksProxyAuthenticationCredential != nil || in.XksProxyConnectivity != "" {
		return nil, refuse(KindValidation, "The members of an external key store are not valid for an AWS CloudHSM key store.")
	}
	return c.specifyCluster(ks, in)
}

func (c *call) specifyCluster(ks *store.KeyStore, in *kms.CreateCustomKeyStoreInput) ([]byte, error) {
	err := errors.Join(required("cloudHsmClusterId", in.CloudHsmClusterId != nil), required("keyStorePassword", in.KeyStorePassword != nil))
	if err != nil {
		return nil, err
	}
	ks.ClusterID, ks.TrustAnchor = *in.CloudHsmClusterId, aws.ToString(in.TrustAnchorCertificate)
	if in.TrustAnchorCertificate != nil && !isCertificate(ks.TrustAnchor) {
		return nil, refuse(KindTrustAnchor, "The trust anchor certificate is not a certificate in PEM.")
	}
	return []byte(*in.KeyStorePassword), c.knownCluster(ks.ClusterID)
}

// knownCluster refuses a cluster that the service's configuration doesn't name.
func (c *call) knownCluster(id string) error {
	known := false
	var err error
	if c.s.config.Clusters != nil {
		known, err = c.s.config.Clusters.HasCluster(id)
	}
	switch {
	case err != nil:
		return internal(err)
	case !known:
		return refuse(KindClusterNotFound, "The cluster %s does not exist.", id)
	}
	return nil
}

func isCertificate(text string) bool {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return false
	}
	_, err := x509.ParseCertificate(block.Bytes)
	return err == nil
}

func (c *call) specifyProxy(ks *store.KeyStore, in *kms.CreateCustomKeyStoreInput) ([]byte, error) {
	err := errors.Join(required("xksProxyUriEndpoint", in.XksProxyUriEndpoint != nil), required("xksProxyUriPath", in.XksProxyUriPath != nil),
		required("xksProxyAuthenticationCredential", in.XksProxyAuthenticationCredential != nil),
		required("xksProxyConnectivity", in.XksProxyConnectivity != ""))
	if err != nil {
		return nil, err
	}
	if in.XksProxyConnectivity == types.XksProxyConnectivityTypeVpcEndpointService {
		return nil, noVPC()
	}
	ks.XksEndpoint, ks.XksPath = *in.XksProxyUriEndpoint, *in.XksProxyUriPath
	ks.XksAccessKey = *in.XksProxyAuthenticationCredential.AccessKeyId
	return []byte(*in.XksProxyAuthenticationCredential.RawSecretAccessKey), nil
}

func noVPC() error {
	return refuse(KindXksVPC, "There are no VPC endpoint services here; use the connectivity PUBLIC_ENDPOINT.")
}

// roomFor refuses a key store, new or changed, that has something in common with
// another.
func (c *call) roomFor(tx store.Tx, ks *store.KeyStore) error {
	all, err := tx.KeyStores(c.ctx, c.scope, "", maxKeyStores+1)
	if err != nil {
		return err
	}
	others := 0
	for _, o := range all {
		if o.ID == ks.ID {
			continue
		}
		others++
		switch {
		case o.Name == ks.Name:
			return refuse(KindKeyStoreNameInUse, "A custom key store with the name %s already exists.", ks.Name)
		case ks.ClusterID != "" && o.ClusterID == ks.ClusterID:
			return refuse(KindClusterInUse, "The cluster %s is used by the custom key store %s.", ks.ClusterID, o.ID)
		case ks.XksEndpoint != "" && o.XksEndpoint == ks.XksEndpoint && o.XksPath == ks.XksPath:
			return refuse(KindXksURIInUse, "The proxy URI %s%s is used by the custom key store %s.", ks.XksEndpoint, ks.XksPath, o.ID)
		}
	}
	if others >= maxKeyStores {
		return refuse(KindLimitExceeded, "The account has %d custom key stores in this region, which is the most that it can have.", others)
	}
	return nil
}

// putNewKeyStore stores a key store. Its secret's wrapping key is made first: what a
// crash leaves of it has wrapped nothing that is kept.
func (c *call) putNewKeyStore(ks *store.KeyStore, secret []byte) error {
	if err := c.s.config.Token.GenerateKey(c.ctx, hsm.KeyID(ks.Backing), "kms/"+ks.ID); err != nil {
		return fromToken(err)
	}
	err := c.s.sealSecret(c.ctx, ks, secret)
	if err == nil {
		err = c.s.config.Store.Update(c.ctx, func(tx store.Tx) error {
			if err := c.roomFor(tx, ks); err != nil {
				return err
			}
			return tx.PutKeyStore(c.ctx, *ks)
		})
	}
	if errors.Is(err, store.ErrUncertain) {
		return err // the key store may be there, and then needs it
	}
	if err != nil {
		return errors.Join(err, c.s.destroySecret(c.ctx, ks))
	}
	return nil
}
