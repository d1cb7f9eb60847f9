package fs

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/kmsfs/kmsfs/envelope"
)

// grant is the permission that a mount holds on its CMK, as EBS makes one for each attached
// volume: limited to this volume's encryption context, retired at unmount.
type grant struct {
	id, key string
}

// grantMount creates the grant of this mount.
func (v *volume) grantMount(ctx context.Context) (*grant, error) {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	key := v.keyARNs[v.currentKey()]
	principal := rootOf(key)
	name := fmt.Sprintf("kmsfs-mount-%016x", v.mountID)
	out, err := v.keys.CreateGrant(ctx, &kms.CreateGrantInput{
		KeyId: &key, GranteePrincipal: &principal, RetiringPrincipal: &principal, Name: &name,
		Operations: []types.GrantOperation{types.GrantOperationDecrypt, types.GrantOperationGenerateDataKey,
			types.GrantOperationReEncryptFrom, types.GrantOperationReEncryptTo, types.GrantOperationRetireGrant},
		Constraints: &types.GrantConstraints{EncryptionContextSubset: envelope.VolumeContext(v.id)},
	})
	if err != nil {
		return nil, newError("create the mount's grant for", v.info.Backing, err)
	}
	return &grant{id: *out.GrantId, key: key}, nil
}

// retire gives the grant back. A grant left behind permits only what this volume's context covers;
// it is logged so that it can be revoked by hand.
func (g *grant) retire(v *volume) {
	ctx, cancel := context.WithTimeout(context.Background(), keyTimeout)
	defer cancel()
	if _, err := v.keys.RetireGrant(ctx, &kms.RetireGrantInput{KeyId: &g.key, GrantId: &g.id}); err != nil {
		v.log.Warn("grant not retired", "grant", g.id, "key", g.key, "err", err)
	}
}

// rootOf returns the principal of the account that owns a key: arn:PARTITION:kms:REGION:ACCOUNT:key/ID.
func rootOf(keyARN string) string {
	part := strings.Split(keyARN, ":")
	if len(part) < 6 {
		return keyARN
	}
	return fmt.Sprintf("arn:%s:iam::%s:root", part[1], part[4])
}
