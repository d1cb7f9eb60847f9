package keysvc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func TestRotationKeepsOldCiphertextsReadable(t *testing.T) {
	f := newService(t)
	id := f.key()
	var blobs [][]byte
	materials := map[string]bool{}
	for i := range 4 {
		blobs = append(blobs, f.encrypt(id, fmt.Sprint(i), nil))
		out := f.decrypts(blobs[i], fmt.Sprint(i), nil)
		materials[*out.KeyMaterialId] = true
		if *out.KeyMaterialId != *f.describe(id).CurrentKeyMaterialId {
			t.Errorf("encrypted under %s", *out.KeyMaterialId)
		}
		f.must(f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id}))
	}
	if len(materials) != 4 {
		t.Errorf("%d materials", len(materials))
	}
	second := openService(t, f.dir, f.clock, token)
	for i, blob := range blobs {
		second.decrypts(blob, fmt.Sprint(i), nil)
	}
	out, err := f.ListKeyRotations(f.ctx(), &kms.ListKeyRotationsInput{KeyId: &id, Limit: aws.Int32(3)})
	if err != nil || len(out.Rotations) != 3 || !out.Truncated || out.Rotations[0].RotationType != types.RotationTypeOnDemand || out.Rotations[0].RotationDate == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	rest, err := f.ListKeyRotations(f.ctx(), &kms.ListKeyRotationsInput{KeyId: &id, Marker: out.NextMarker})
	if err != nil || len(rest.Rotations) != 1 || rest.Rotations[0].KeyMaterialState != types.KeyMaterialStateCurrent {
		t.Errorf("%+v, %v", rest, err)
	}
	all, err := f.ListKeyRotations(f.ctx(), &kms.ListKeyRotationsInput{KeyId: &id, IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial})
	if err != nil || len(all.Rotations) != 5 || all.Rotations[0].RotationType != "" {
		t.Errorf("%+v, %v", all, err)
	}
	if f.serviceEvents("RotateKey") != 4 {
		t.Errorf("%d RotateKey events", f.serviceEvents("RotateKey"))
	}
}

func TestNewKeyListsNoRotations(t *testing.T) {
	f := newService(t)
	id := f.key()
	if out, err := f.ListKeyRotations(f.ctx(), &kms.ListKeyRotationsInput{KeyId: &id}); err != nil || len(out.Rotations) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestOnDemandRotationsAreLimited(t *testing.T) {
	f := newService(t)
	id := f.key()
	f.edit(id, func(k *store.Key) {
		for n := range maxOnDemand {
			k.Materials = append(k.Materials, store.Material{Backing: store.BackingID(hsm.NewKeyID()), Number: 2 + n,
				State: store.MaterialNonCurrent, Rotation: types.RotationTypeOnDemand})
		}
	})
	_, err := f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id})
	wantError(t, err, "LimitExceededException", "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: "+f.arn(id))
}

func TestAutomaticRotation(t *testing.T) {
	f := newService(t)
	id := f.key()
	status := func() *kms.GetKeyRotationStatusOutput {
		out, err := f.GetKeyRotationStatus(f.ctx(), &kms.GetKeyRotationStatusInput{KeyId: &id})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if s := status(); s.KeyRotationEnabled || s.RotationPeriodInDays != nil || s.NextRotationDate != nil || *s.KeyId != f.arn(id) {
		t.Errorf("%+v", s)
	}
	f.must(f.EnableKeyRotation(f.ctx(), &kms.EnableKeyRotationInput{KeyId: &id, RotationPeriodInDays: aws.Int32(90)}))
	first := *status().NextRotationDate
	f.must(f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id}))
	if got := *status().NextRotationDate; !got.Equal(first) {
		t.Errorf("rotation on demand moved the schedule from %v to %v", first, got)
	}
	old := f.encrypt(id, "old", nil)
	material := *f.describe(id).CurrentKeyMaterialId

	f.clock.advance(91 * day)
	f.must(f.DisableKey(f.ctx(), &kms.DisableKeyInput{KeyId: &id}))
	f.must(nil, f.Sweep(f.ctx()))
	if *f.describe(id).CurrentKeyMaterialId != material {
		t.Error("a disabled key was rotated")
	}
	f.must(f.EnableKey(f.ctx(), &kms.EnableKeyInput{KeyId: &id}))
	if *f.describe(id).CurrentKeyMaterialId == material {
		t.Error("the overdue rotation wasn't made up for")
	}
	f.decrypts(old, "old", nil)

	material = *f.describe(id).CurrentKeyMaterialId
	f.clock.advance(90*day + time.Second)
	f.must(f.ScheduleKeyDeletion(f.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: &id}))
	if s := status(); s.KeyRotationEnabled {
		t.Errorf("pending deletion: %+v", s)
	}
	f.must(f.CancelKeyDeletion(f.ctx(), &kms.CancelKeyDeletionInput{KeyId: &id}))
	f.edit(id, func(k *store.Key) { k.State = types.KeyStateEnabled })
	f.encrypt(id, "rotates at its use", nil)
	if *f.describe(id).CurrentKeyMaterialId == material {
		t.Error("a use of the key didn't rotate it")
	}
	f.must(f.DisableKeyRotation(f.ctx(), &kms.DisableKeyRotationInput{KeyId: &id}))
	if s := status(); s.KeyRotationEnabled {
		t.Errorf("%+v", s)
	}
	if n := f.serviceEvents("RotateKey"); n != 3 {
		t.Errorf("%d RotateKey events", n)
	}
}

func TestChangedPeriodCountsFromTheSameStart(t *testing.T) {
	f := newService(t)
	id := f.key()
	next := func(period int32) time.Time {
		f.must(f.EnableKeyRotation(f.ctx(), &kms.EnableKeyRotationInput{KeyId: &id, RotationPeriodInDays: &period}))
		out, err := f.GetKeyRotationStatus(f.ctx(), &kms.GetKeyRotationStatusInput{KeyId: &id})
		f.must(out, err)
		return *out.NextRotationDate
	}
	before := next(180)
	f.clock.advance(10 * day)
	if after := next(100); before.Sub(after) != 80*day {
		t.Errorf("next rotation moved from %v to %v", before, after)
	}
}

func TestDueRotationHappensOnce(t *testing.T) {
	f := newService(t)
	id := f.key()
	f.must(f.EnableKeyRotation(f.ctx(), &kms.EnableKeyRotationInput{KeyId: &id}))
	f.clock.advance(366 * day)
	services := []*fixture{f, openService(t, f.dir, f.clock, token), openService(t, f.dir, f.clock, token)}
	results := make(chan error)
	for _, s := range services {
		go func() {
			_, err := s.GenerateDataKey(context.Background(), &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: types.DataKeySpecAes256})
			results <- errors.Join(err, s.Sweep(context.Background()))
		}()
	}
	for range services {
		if err := <-results; err != nil {
			// A sweep may meet the other's rotation half way.
			var e *Error
			if !errors.As(err, &e) || e.Kind != KindConflict {
				t.Error(err)
			}
		}
	}
	if n := len(f.backings(id)); n != 2 {
		t.Errorf("%d backing keys", n)
	}
}
