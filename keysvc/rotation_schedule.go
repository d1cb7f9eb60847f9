package keysvc

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// EnableKeyRotation has a key rotated every 90 to 2560 days, counted from now or,
// if it was enabled already, from where the present period began.
func (s *Service) EnableKeyRotation(ctx context.Context, in *kms.EnableKeyRotationInput, _ ...func(*kms.Options)) (*kms.EnableKeyRotationOutput, error) {
	return serve(s, ctx, opEnableKeyRotation, in, (*call).enableKeyRotation)
}

func (c *call) enableKeyRotation(in *kms.EnableKeyRotationInput) (*kms.EnableKeyRotationOutput, error) {
	c.text("keyId", in.KeyId)
	c.number("rotationPeriodInDays", in.RotationPeriodInDays)
	period := int32(defaultRotationDays)
	if in.RotationPeriodInDays != nil {
		period = *in.RotationPeriodInDays
	}
	_, err := c.change(*in.KeyId, func(_ store.Tx, key *store.Key) error {
		if err := errors.Join(checkSchedulable(key), checkRotatable(key)); err != nil {
			return err
		}
		start := c.now
		if key.RotationPeriodDays > 0 {
			start = key.NextRotation.Add(-days(key.RotationPeriodDays))
		}
		key.RotationPeriodDays, key.NextRotation = period, start.Add(days(period))
		return nil
	})
	return &kms.EnableKeyRotationOutput{}, err
}

// checkSchedulable refuses automatic rotation of keys whose material the service
// doesn't make, or makes once only.
func checkSchedulable(key *store.Key) error {
	switch {
	case !isSymmetric(key):
		return &Error{Kind: KindUnsupported}
	case key.Origin != types.OriginTypeAwsKms:
		return refuse(KindUnsupported, "%s origin is %s which is not valid for this operation.", keyARN(key.Scope, key.ID), key.Origin)
	}
	return nil
}

func days(n int32) time.Duration { return time.Duration(n) * day }

// DisableKeyRotation ends a key's automatic rotation.
func (s *Service) DisableKeyRotation(ctx context.Context, in *kms.DisableKeyRotationInput, _ ...func(*kms.Options)) (*kms.DisableKeyRotationOutput, error) {
	return serve(s, ctx, opDisableKeyRotation, in, (*call).disableKeyRotation)
}

func (c *call) disableKeyRotation(in *kms.DisableKeyRotationInput) (*kms.DisableKeyRotationOutput, error) {
	c.text("keyId", in.KeyId)
	_, err := c.change(*in.KeyId, func(_ store.Tx, key *store.Key) error {
		if err := errors.Join(checkSchedulable(key), checkRotatable(key)); err != nil {
			return err
		}
		key.RotationPeriodDays, key.NextRotation = 0, time.Time{}
		return nil
	})
	return &kms.DisableKeyRotationOutput{}, err
}

// GetKeyRotationStatus tells whether and when a key rotates automatically.
func (s *Service) GetKeyRotationStatus(ctx context.Context, in *kms.GetKeyRotationStatusInput, _ ...func(*kms.Options)) (*kms.GetKeyRotationStatusOutput, error) {
	return serve(s, ctx, opGetKeyRotationStatus, in, (*call).getKeyRotationStatus)
}

func (c *call) getKeyRotationStatus(in *kms.GetKeyRotationStatusInput) (*kms.GetKeyRotationStatusOutput, error) {
	c.text("keyId", in.KeyId)
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	if err := checkSchedulable(&k.Key); err != nil {
		return nil, err
	}
	out := &kms.GetKeyRotationStatusOutput{KeyId: aws.String(k.arn)}
	if k.RotationPeriodDays > 0 && stateColumn(k.State) != deletionColumn {
		out.KeyRotationEnabled = true
		out.RotationPeriodInDays = aws.Int32(k.RotationPeriodDays)
		out.NextRotationDate = aws.Time(k.NextRotation)
	}
	return out, nil
}

// ListKeyRotations lists a key's past rotations, or with ALL_KEY_MATERIAL its
// materials, oldest first.
func (s *Service) ListKeyRotations(ctx context.Context, in *kms.ListKeyRotationsInput, _ ...func(*kms.Options)) (*kms.ListKeyRotationsOutput, error) {
	return serve(s, ctx, opListKeyRotations, in, (*call).listKeyRotations)
}

func (c *call) listKeyRotations(in *kms.ListKeyRotationsInput) (*kms.ListKeyRotationsOutput, error) {
	c.text("keyId", in.KeyId)
	word(c, "includeKeyMaterial", in.IncludeKeyMaterial)
	list, err := c.page(in.Limit, in.Marker, manyPerPage, in.KeyId, aws.String(string(in.IncludeKeyMaterial)))
	if err != nil {
		return nil, err
	}
	k, err := c.use(*in.KeyId, access{})
	if err != nil {
		return nil, err
	}
	if !isSymmetric(&k.Key) {
		return nil, &Error{Kind: KindUnsupported}
	}
	if err := notInStore(k); err != nil {
		return nil, err
	}
	entries, next := c.rotationPage(k, list, in.IncludeKeyMaterial == types.IncludeKeyMaterialAllKeyMaterial)
	return &kms.ListKeyRotationsOutput{Rotations: entries, NextMarker: next, Truncated: next != nil}, nil
}

// rotationPage pages over the key itself, as its materials are part of it.
func (c *call) rotationPage(k *keySnapshot, p page, all bool) ([]types.RotationsListEntry, *string) {
	after, _ := strconv.Atoi(p.after)
	materials := slices.DeleteFunc(slices.Clone(k.Materials), func(m store.Material) bool {
		return m.State == store.MaterialCreating || m.Rotation == "" && !all || m.Number <= after
	})
	var next *string
	if len(materials) > p.limit {
		materials = materials[:p.limit]
		next = aws.String(newMarker(c.op.name, p.filter, strconv.Itoa(materials[p.limit-1].Number)))
	}
	entries := make([]types.RotationsListEntry, 0, len(materials))
	for _, m := range materials {
		e := types.RotationsListEntry{
			KeyId: aws.String(k.ID), KeyMaterialId: aws.String(materialID(k.ID, m.Backing)),
			KeyMaterialState: types.KeyMaterialState(m.State), RotationType: m.Rotation,
		}
		if m.Import != "" {
			describeImport(&e, &m)
		}
		if m.Rotation != "" {
			e.RotationDate = aws.Time(m.Rotated)
		}
		entries = append(entries, e)
	}
	return entries, next
}

// describeImport adds what is said of imported material only.
func describeImport(e *types.RotationsListEntry, m *store.Material) {
	e.ImportState = m.Import
	if m.Description != "" {
		e.KeyMaterialDescription = aws.String(m.Description)
	}
	switch {
	case m.Import != types.ImportStateImported && m.Expires.IsZero():
	case m.Expires.IsZero():
		e.ExpirationModel = types.ExpirationModelTypeKeyMaterialDoesNotExpire
	default:
		e.ExpirationModel, e.ValidTo = types.ExpirationModelTypeKeyMaterialExpires, aws.Time(m.Expires)
	}
}
