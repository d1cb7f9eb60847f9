package keysvc

import (
	"context"
	"errors"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// keyStoresPerPage is how many entries DescribeCustomKeyStores has without Limit.
const keyStoresPerPage = maxKeyStores

// DescribeCustomKeyStores shows all custom key stores or the one of an id or name.
// Their secrets are not shown to anybody.
func (s *Service) DescribeCustomKeyStores(ctx context.Context, in *kms.DescribeCustomKeyStoresInput, _ ...func(*kms.Options)) (*kms.DescribeCustomKeyStoresOutput, error) {
	return serve(s, ctx, opDescribeKeyStores, in, (*call).describeKeyStores)
}

func (c *call) describeKeyStores(in *kms.DescribeCustomKeyStoresInput) (*kms.DescribeCustomKeyStoresOutput, error) {
	c.text("customKeyStoreId", in.CustomKeyStoreId)
	c.text("customKeyStoreName", in.CustomKeyStoreName)
	list, err := c.page(in.Limit, in.Marker, keyStoresPerPage, in.CustomKeyStoreId, in.CustomKeyStoreName)
	if err != nil {
		return nil, err
	}
	if in.CustomKeyStoreId != nil && in.CustomKeyStoreName != nil {
		return nil, refuse(KindValidation, "You can specify either CustomKeyStoreId or CustomKeyStoreName, but not both.")
	}
	if err := c.authorizeAccount(); err != nil {
		return nil, err
	}
	found, next, err := readPage(c, list, func(ks store.KeyStore) string { return ks.ID }, func(tx store.Tx, after string, limit int) ([]store.KeyStore, error) {
		return c.selectKeyStores(tx, in, after, limit)
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && (in.CustomKeyStoreId != nil || in.CustomKeyStoreName != nil) {
		return nil, keyStoreNotFound(aws.ToString(in.CustomKeyStoreId) + aws.ToString(in.CustomKeyStoreName))
	}
	out := &kms.DescribeCustomKeyStoresOutput{CustomKeyStores: make([]types.CustomKeyStoresListEntry, 0, len(found)), NextMarker: next, Truncated: next != nil}
	for _, ks := range found {
		out.CustomKeyStores = append(out.CustomKeyStores, keyStoreEntry(&ks))
	}
	return out, nil
}

// selectKeyStores reads the key stores that the input names, or a page of all.
func (c *call) selectKeyStores(tx store.Tx, in *kms.DescribeCustomKeyStoresInput, after string, limit int) ([]store.KeyStore, error) {
	if in.CustomKeyStoreId == nil && in.CustomKeyStoreName == nil {
		return tx.KeyStores(c.ctx, c.scope, after, limit)
	}
	all, err := tx.KeyStores(c.ctx, c.scope, "", maxKeyStores+1)
	for _, ks := range all {
		if ks.ID == aws.ToString(in.CustomKeyStoreId) || in.CustomKeyStoreName != nil && ks.Name == *in.CustomKeyStoreName {
			return []store.KeyStore{ks}, err
		}
	}
	return nil, err
}

// keyStoreEntry is a key store as AWS shows it.
func keyStoreEntry(ks *store.KeyStore) types.CustomKeyStoresListEntry {
	e := types.CustomKeyStoresListEntry{
		CustomKeyStoreId: aws.String(ks.ID), CustomKeyStoreName: aws.String(ks.Name), CustomKeyStoreType: ks.Type,
		ConnectionState: ks.State, ConnectionErrorCode: ks.ErrorCode, CreationDate: aws.Time(ks.Created),
	}
	if ks.Type == types.CustomKeyStoreTypeExternalKeyStore {
		e.XksProxyConfiguration = &types.XksProxyConfigurationType{
			AccessKeyId: aws.String(ks.XksAccessKey), Connectivity: types.XksProxyConnectivityTypePublicEndpoint,
			UriEndpoint: aws.String(ks.XksEndpoint), UriPath: aws.String(ks.XksPath),
		}
		return e
	}
	e.CloudHsmClusterId = aws.String(ks.ClusterID)
	if ks.TrustAnchor != "" {
		e.TrustAnchorCertificate = aws.String(ks.TrustAnchor)
	}
	return e
}

func keyStoreNotFound(id string) *Error {
	return refuse(KindKeyStoreNotFound, "Custom key store %s does not exist.", id)
}

// keyStore reads a key store.
func (c *call) keyStore(id string) (store.KeyStore, error) {
	var ks store.KeyStore
	err := c.s.config.Store.View(c.ctx, func(tx store.Tx) (err error) {
		ks, err = tx.KeyStore(c.ctx, c.scope, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return ks, keyStoreNotFound(id)
	}
	return ks, err
}

// changeKeyStore changes a key store in a transaction and returns it as it is
// then.
func (c *call) changeKeyStore(ctx context.Context, id string, fn func(tx store.Tx, ks *store.KeyStore) error) (store.KeyStore, error) {
	var changed store.KeyStore
	err := c.s.config.Store.Update(ctx, func(tx store.Tx) error {
		ks, err := tx.KeyStore(ctx, c.scope, id)
		if errors.Is(err, store.ErrNotFound) {
			return keyStoreNotFound(id)
		}
		if err == nil {
			err = fn(tx, &ks)
		}
		changed = ks
		if err != nil {
			return err
		}
		return tx.PutKeyStore(ctx, ks)
	})
	return changed, err
}
