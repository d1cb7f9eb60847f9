package keysvc

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// meddled is the real token with something else happening while it makes or imports
// a key: each function is called once, with the id of the key; imported and destroyed
// afterwards.
type meddled struct {
	hsm.Token
	onGenerate, onImport, imported, destroyed func(id hsm.KeyID)
}

func once(f *func(hsm.KeyID), id hsm.KeyID) {
	if call := *f; call != nil {
		*f = nil
		call(id)
	}
}

func (m *meddled) GenerateKey(ctx context.Context, id hsm.KeyID, label string) error {
	once(&m.onGenerate, id)
	return m.Token.GenerateKey(ctx, id, label)
}

func (m *meddled) GenerateKeyPair(ctx context.Context, id hsm.KeyID, t hsm.KeyType, purpose hsm.Purpose, label string) error {
	once(&m.onGenerate, id)
	return m.Token.GenerateKeyPair(ctx, id, t, purpose, label)
}

func (m *meddled) ImportKey(ctx context.Context, id hsm.KeyID, w hsm.WrappedKey, label string) error {
	once(&m.onImport, id)
	defer once(&m.imported, id)
	return m.Token.ImportKey(ctx, id, w, label)
}

func (m *meddled) DestroyKey(ctx context.Context, id hsm.KeyID) error {
	defer once(&m.destroyed, id)
	return m.Token.DestroyKey(ctx, id)
}

func newMeddled(t *testing.T) (*fixture, *meddled) {
	m := &meddled{Token: token}
	return openService(t, t.TempDir(), &clock{}, m), m
}

func TestPrimaryRegionDoesNotMoveDuringARotation(t *testing.T) {
	f, m := newMeddled(t)
	id := f.replicated()
	move := func() error {
		_, err := f.UpdatePrimaryRegion(f.ctx(), &kms.UpdatePrimaryRegionInput{KeyId: &id, PrimaryRegion: aws.String(otherRegion)})
		return err
	}
	m.onGenerate = func(hsm.KeyID) {
		wantError(t, move(), "KMSInvalidStateException", f.arn(id)+" is updating.")
	}
	f.must(f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id}))
	blob := f.encrypt(id, "text", nil)
	before, err := f.lookup(f.ctx(), store.KeyRef{Scope: f.scope(), ID: id})
	f.must(nil, err)
	f.must(nil, move())
	f.must(f.DisableKey(f.there(), &kms.DisableKeyInput{KeyId: &id})) // the replica follows
	openService(t, f.dir, f.clock, token).decrypts(blob, "text", nil)

	// A call that saw the key as a primary key before it moved.
	wantError(t, f.rotate(f.ctx(), before, types.RotationTypeOnDemand), "UnsupportedOperationException", "*")
	if len(f.backings(id)) != 2 {
		t.Error("a replica was rotated")
	}
}

func TestMaterialThatIsDeletedDuringItsImportIsThereAfterwards(t *testing.T) {
	f, m := newMeddled(t)
	id := f.external(types.KeySpecSymmetricDefault, "")
	p := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1)
	wrapped := p.wrap(make([]byte, 32))
	f.must(nil, p.importMaterial(wrapped, nil))
	blob := f.encrypt(id, "text", nil)
	m.onImport = func(hsm.KeyID) {
		f.must(f.DeleteImportedKeyMaterial(f.ctx(), &kms.DeleteImportedKeyMaterialInput{KeyId: &id}))
	}
	f.must(nil, p.importMaterial(wrapped, nil))
	f.decrypts(blob, "text", nil)
}

func TestMaterialThatNobodyWaitedForIsNotLeftAsDeleted(t *testing.T) {
	f, m := newMeddled(t)
	id := f.external(types.KeySpecSymmetricDefault, "")
	p := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1)
	wrapped := p.wrap(make([]byte, 32))
	f.must(nil, p.importMaterial(wrapped, nil))
	backing := f.backings(id)[0]
	f.must(f.DeleteImportedKeyMaterial(f.ctx(), &kms.DeleteImportedKeyMaterialInput{KeyId: &id}))
	ctx, cancel := context.WithCancel(f.ctx())
	m.imported = func(hsm.KeyID) { // for recognition
		m.imported = func(hsm.KeyID) { cancel() }
	}
	_, err := f.ImportKeyMaterial(ctx, &kms.ImportKeyMaterialInput{KeyId: &id, ImportToken: p.out.ImportToken, EncryptedKeyMaterial: wrapped,
		ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire})
	if state := f.describe(id).KeyState; (state == types.KeyStateEnabled) != f.inToken(backing) {
		t.Errorf("the key is %s; material in the token: %v (%v)", state, f.inToken(backing), err)
	}
}

func TestDeletedMaterialIsSaidToBeThoughNobodyWaits(t *testing.T) {
	f, m := newMeddled(t)
	id := f.external(types.KeySpecSymmetricDefault, "")
	p := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1)
	f.must(nil, p.importMaterial(p.wrap(make([]byte, 32)), nil))
	ctx, cancel := context.WithCancel(f.ctx())
	m.destroyed = func(hsm.KeyID) { cancel() }
	_, err := f.DeleteImportedKeyMaterial(ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: &id})
	if state := f.describe(id).KeyState; state != types.KeyStatePendingImport {
		t.Errorf("the key is %s (%v)", state, err)
	}
	_, err = f.DeleteImportedKeyMaterial(ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: &id})
	wantError(t, err, "DependencyTimeoutException", "*")
}

func TestOnlyOneOfTwoFirstImportsAtOnceCounts(t *testing.T) {
	f, m := newMeddled(t)
	id := f.external(types.KeySpecSymmetricDefault, "")
	p := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1)
	one, two := p.wrap(bytes.Repeat([]byte{1}, 32)), p.wrap(bytes.Repeat([]byte{2}, 32))
	var slower hsm.KeyID
	m.onImport = func(id hsm.KeyID) {
		slower = id
		f.must(nil, p.importMaterial(two, nil))
	}
	if err := p.importMaterial(one, nil); err == nil {
		t.Error("both counted")
	}
	if len(f.backings(id)) != 1 || f.inToken(slower) {
		t.Errorf("%d materials", len(f.backings(id)))
	}
}

func TestUnimportedReplicaIsDeletedWithoutItsPrimarysMaterial(t *testing.T) {
	f := newService(t)
	made, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true), Origin: types.OriginTypeExternal})
	f.must(made, err)
	id := *made.KeyMetadata.KeyId
	p := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1)
	f.must(nil, p.importMaterial(p.wrap(make([]byte, 32)), nil))
	blob := f.encrypt(id, "text", nil)
	f.must(f.ReplicateKey(f.ctx(), &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String(otherRegion)}))
	f.must(f.ScheduleKeyDeletion(f.there(), &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)}))
	f.clock.advance(7 * day)
	f.must(nil, f.Sweep(f.ctx()))
	f.decrypts(blob, "text", nil)
}

func TestKeyThatTheTokenMakesTooLateIsSwept(t *testing.T) {
	f, m := newMeddled(t)
	primary := f.external(types.KeySpecSymmetricDefault, "")
	for name, create := range map[string]func(context.Context) error{
		"CreateKey": func(ctx context.Context) error {
			_, err := f.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: types.KeySpecRsa3072, KeyUsage: types.KeyUsageTypeSignVerify})
			return err
		},
		"GetParametersForImport": func(ctx context.Context) error {
			_, err := f.GetParametersForImport(ctx, &kms.GetParametersForImportInput{
				KeyId: &primary, WrappingAlgorithm: types.AlgorithmSpecRsaesOaepSha1, WrappingKeySpec: types.WrappingKeySpecRsa3072})
			return err
		},
	} {
		var made hsm.KeyID
		ctx, cancel := context.WithCancel(f.ctx())
		m.onGenerate = func(id hsm.KeyID) {
			made = id
			time.AfterFunc(20*time.Millisecond, cancel)
		}
		if err := create(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v", name, err)
		}
		for end := time.Now().Add(time.Minute); !f.inToken(made) && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second) // the other half of the pair
		f.clock.advance(importWindow + time.Second)
		f.must(nil, f.Sweep(f.ctx()))
		if f.inToken(made) {
			t.Errorf("%s: left in the token", name)
		}
	}
	if out, err := f.ListKeys(f.ctx(), nil); err != nil || len(out.Keys) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestKeyThatIsChangedWhileItIsMadeStaysChanged(t *testing.T) {
	f, m := newMeddled(t)
	m.onGenerate = func(hsm.KeyID) {
		list, err := f.ListKeys(f.ctx(), nil)
		f.must(list, err)
		f.must(f.UpdateKeyDescription(f.ctx(), &kms.UpdateKeyDescriptionInput{KeyId: list.Keys[0].KeyId, Description: aws.String("changed")}))
		f.must(f.ScheduleKeyDeletion(f.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: list.Keys[0].KeyId}))
	}
	out, err := f.CreateKey(f.ctx(), nil)
	f.must(out, err)
	now := f.describe(*out.KeyMetadata.KeyId)
	if now.KeyState != types.KeyStatePendingDeletion || *now.Description != "changed" || now.DeletionDate == nil {
		t.Fatalf("%+v", now)
	}
	f.must(f.CancelKeyDeletion(f.ctx(), &kms.CancelKeyDeletionInput{KeyId: now.KeyId}))
	f.must(f.EnableKey(f.ctx(), &kms.EnableKeyInput{KeyId: now.KeyId}))
	f.decrypts(f.encrypt(*now.KeyId, "text", nil), "text", nil)
}

func TestKeyForImportsIsMadeAtOnce(t *testing.T) {
	f := newService(t)
	before := f.config.Store.Generation()
	f.external(types.KeySpecSymmetricDefault, "")
	if n := f.config.Store.Generation() - before; n != 1 {
		t.Errorf("%d transactions, between which a crash leaves a key that nobody finishes", n)
	}
}
