//lint:file-ignore SA1019 AWS still answers with the deprecated member.

package keysvc

import (
	"context"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// DescribeKey returns a key's metadata.
func (s *Service) DescribeKey(ctx context.Context, in *kms.DescribeKeyInput, _ ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	return serve(s, ctx, opDescribeKey, in, (*call).describeKey)
}

func (c *call) describeKey(in *kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
	c.text("keyId", in.KeyId)
	k, err := c.use(*in.KeyId, access{grantTokens: in.GrantTokens})
	if err != nil {
		return nil, err
	}
	m, err := c.metadata(k)
	if err != nil {
		return nil, err
	}
	return &kms.DescribeKeyOutput{KeyMetadata: m}, nil
}

// ListKeys lists the ids and ARNs of the region's keys.
func (s *Service) ListKeys(ctx context.Context, in *kms.ListKeysInput, _ ...func(*kms.Options)) (*kms.ListKeysOutput, error) {
	return serve(s, ctx, opListKeys, in, (*call).listKeys)
}

func (c *call) listKeys(in *kms.ListKeysInput) (*kms.ListKeysOutput, error) {
	list, err := c.page(in.Limit, in.Marker, manyPerPage)
	if err != nil {
		return nil, err
	}
	if err := c.authorizeAccount(); err != nil {
		return nil, err
	}
	ids, next, err := readPage(c, list, func(id string) string { return id }, func(tx store.Tx, after string, limit int) ([]string, error) {
		return tx.KeyIDs(c.ctx, c.scope, after, limit)
	})
	if err != nil {
		return nil, err
	}
	out := &kms.ListKeysOutput{Keys: make([]types.KeyListEntry, 0, len(ids)), NextMarker: next, Truncated: next != nil}
	for _, id := range ids {
		out.Keys = append(out.Keys, types.KeyListEntry{KeyId: aws.String(id), KeyArn: aws.String(keyARN(c.scope, id))})
	}
	return out, nil
}

// metadata is a key as DescribeKey shows it, with the keys that it is related to.
func (c *call) metadata(k *keySnapshot) (m *types.KeyMetadata, err error) {
	m = metadata(k)
	if k.MultiRegion {
		m.MultiRegionConfiguration, err = c.regionsOf(k)
	}
	return m, err
}

// metadata is what DescribeKey shows of the key itself. Members that don't apply are
// absent.
func metadata(k *keySnapshot) *types.KeyMetadata {
	m := &types.KeyMetadata{
		AWSAccountId:          aws.String(k.Account),
		Arn:                   aws.String(k.arn),
		CreationDate:          aws.Time(k.Created),
		CustomerMasterKeySpec: types.CustomerMasterKeySpec(k.Spec),
		Description:           aws.String(k.Description),
		Enabled:               k.EffectiveState() == types.KeyStateEnabled,
		EncryptionAlgorithms:  encryptionAlgorithms(&k.Key),
		SigningAlgorithms:     signingAlgorithms(&k.Key),
		MacAlgorithms:         macAlgorithms(&k.Key),
		KeyId:                 aws.String(k.ID),
		KeyManager:            k.Manager,
		KeySpec:               k.Spec,
		KeyState:              k.EffectiveState(),
		KeyUsage:              k.Usage,
		MultiRegion:           aws.Bool(k.MultiRegion),
		Origin:                k.Origin,
	}
	m.KeyAgreementAlgorithms = agreementAlgorithms(&k.Key)
	if current := k.Current(); current != nil && isSymmetric(&k.Key) {
		m.CurrentKeyMaterialId = shownMaterial(k, current.Backing)
	}
	m.ExpirationModel, m.ValidTo = validity(&k.Key)
	place(m, k)
	if k.State == types.KeyStatePendingReplicaDeletion {
		m.PendingDeletionWindowInDays = aws.Int32(k.DeletionWindowDays)
	}
	if !k.DeletionDate.IsZero() {
		m.DeletionDate = aws.Time(k.DeletionDate)
	}
	return m
}

// validity is when the first of a key's imported materials expires, or did: only this
// tells a key whose material has expired from one that waits for its first.
func validity(key *store.Key) (types.ExpirationModelType, *time.Time) {
	var first time.Time
	for _, m := range key.Materials {
		bound := m.State != store.MaterialPending && m.State != store.MaterialCreating
		if bound && !m.Expires.IsZero() && (first.IsZero() || m.Expires.Before(first)) {
			first = m.Expires
		}
	}
	switch current := key.Current(); {
	case !first.IsZero():
		return types.ExpirationModelTypeKeyMaterialExpires, &first
	case current != nil && current.Import == types.ImportStateImported:
		return types.ExpirationModelTypeKeyMaterialDoesNotExpire, nil
	}
	return "", nil
}
