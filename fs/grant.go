package fs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/kmsfs/kmsfs/envelope"
)

// grant is the permission that a mount holds on its CMK, as EBS makes one for each attached
// volume: limited to this volume's encryption context, retired at unmount.
type grant struct {
	id, key string
}

// grants are those of one mount: one for each CMK that wraps keys of its volume.
type grants struct {
	v *volume

	mu   sync.Mutex // leaf lock
	held []*grant
}

// grantMount creates the grants of this mount. Besides the current CMK a volume on its way to another
// one has keys under the one before; where no grant can be had for that, the opens will tell.
func (v *volume) grantMount(ctx context.Context) (*grants, error) {
	g := &grants{v: v}
	for i, arn := range v.list().inUse() {
		err := g.add(ctx, arn)
		if err != nil && i == 0 {
			return nil, err
		}
		if err != nil {
			v.log.Warn("no grant for a key that the volume is leaving", "key", arn, "err", err)
		}
	}
	return g, nil
}

// add creates a grant for one more CMK, unless there is one. Who may use the key but not make grants has all
// that a mount needs: it goes without.
func (g *grants) add(ctx context.Context, arn string) error {
	if g.of(arn) != nil {
		return nil
	}
	made, err := g.v.createGrant(ctx, arn)
	if kindOf(err) == KindKeyDenied {
		g.v.log.Warn("the mount has no grant of its own, as its principal may not make any", "key", arn, "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = append(g.held, made)
	return nil
}

// of returns the grant for a CMK, nil if there is none.
func (g *grants) of(arn string) *grant {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.held {
		if h.key == arn {
			return h
		}
	}
	return nil
}

// id returns the id of the grant for a CMK, "" if there is none.
func (g *grants) id(arn string) string {
	if h := g.of(arn); h != nil {
		return h.id
	}
	return ""
}

// retain retires the grants for all CMKs but those that are listed.
func (g *grants) retain(arns ...string) {
	g.mu.Lock()
	gone := g.held
	g.held = nil
	for _, h := range gone {
		if slices.Contains(arns, h.key) {
			g.held = append(g.held, h)
		}
	}
	g.mu.Unlock()
	for _, h := range gone {
		if !slices.Contains(arns, h.key) {
			h.retire(g.v)
		}
	}
}

// createGrant asks the key service for a grant (AWS: CreateGrant).
func (v *volume) createGrant(ctx context.Context, key string) (*grant, error) {
	principal := v.caller
	if principal == "" {
		principal = rootOf(key)
	}
	name := fmt.Sprintf("kmsfs-mount-%016x", v.mountID)
	out, err := ask(ctx, v.keys.CreateGrant, &kms.CreateGrantInput{
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
	if _, err := ask(context.Background(), v.keys.RetireGrant, &kms.RetireGrantInput{KeyId: &g.key, GrantId: &g.id}); err != nil {
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
