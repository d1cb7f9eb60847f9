//lint:file-ignore SA1019 AWS still answers with the deprecated member.

package keysvc

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func (f *fixture) describe(id string) *types.KeyMetadata {
	f.t.Helper()
	out, err := f.DescribeKey(f.ctx(), &kms.DescribeKeyInput{KeyId: &id})
	if err != nil {
		f.t.Fatal(err)
	}
	return out.KeyMetadata
}

// backings are the ids of a key's backing keys.
func (f *fixture) backings(id string) (ids []hsm.KeyID) {
	f.t.Helper()
	k, err := f.load(f.ctx(), store.KeyRef{Scope: f.scope(), ID: id})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range k.Materials {
		ids = append(ids, hsm.KeyID(m.Backing))
	}
	return ids
}

func (f *fixture) inToken(id hsm.KeyID) bool {
	f.t.Helper()
	has, err := token.HasKey(f.ctx(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	return has
}

func (f *fixture) must(_ any, err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// serviceEvents counts records that the service made of its own accord.
func (f *fixture) serviceEvents(name string) (n int) {
	for _, r := range f.records() {
		if r.EventName == name && r.EventType == "AwsServiceEvent" {
			n++
		}
	}
	return n
}

func TestFreshKeyLooksAsInAWS(t *testing.T) {
	f := newService(t)
	m := f.describe(f.key())
	if m.KeyState != types.KeyStateEnabled || !m.Enabled || m.KeyManager != types.KeyManagerTypeCustomer || *m.MultiRegion ||
		m.Origin != types.OriginTypeAwsKms || *m.Description != "" || m.KeySpec != types.KeySpecSymmetricDefault ||
		m.CustomerMasterKeySpec != types.CustomerMasterKeySpecSymmetricDefault || m.KeyUsage != types.KeyUsageTypeEncryptDecrypt ||
		!slices.Equal(m.EncryptionAlgorithms, []types.EncryptionAlgorithmSpec{"SYMMETRIC_DEFAULT"}) || len(*m.CurrentKeyMaterialId) != 64 ||
		*m.AWSAccountId != testAccount || m.DeletionDate != nil || m.SigningAlgorithms != nil || time.Since(*m.CreationDate) > time.Minute {
		t.Errorf("%+v", m)
	}
}

func TestDeletionDestroysTheBackingKeysOnce(t *testing.T) {
	f := newService(t)
	id := f.key()
	blob := f.encrypt(id, "text", nil)
	f.must(f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id}))
	f.must(f.CreateAlias(f.ctx(), &kms.CreateAliasInput{AliasName: aws.String("alias/doomed"), TargetKeyId: &id}))
	backings := f.backings(id)
	out, err := f.ScheduleKeyDeletion(f.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)})
	if err != nil || out.KeyState != types.KeyStatePendingDeletion || *out.PendingWindowInDays != 7 || *out.KeyId != f.arn(id) {
		t.Fatalf("%+v, %v", out, err)
	}
	if m := f.describe(id); m.Enabled || !m.DeletionDate.Equal(*out.DeletionDate) {
		t.Errorf("%+v", m)
	}
	f.clock.advance(7*day - time.Minute)
	f.must(nil, f.Sweep(f.ctx()))
	if !f.inToken(backings[0]) || f.describe(id).KeyState != types.KeyStatePendingDeletion {
		t.Error("deleted too early")
	}
	f.clock.advance(2 * time.Minute)
	_, err = f.CancelKeyDeletion(f.ctx(), &kms.CancelKeyDeletionInput{KeyId: &id})
	wantError(t, err, "NotFoundException", "Key '"+f.arn(id)+"' does not exist")
	for _, b := range backings {
		if f.inToken(b) {
			t.Errorf("backing key %v is still there", b)
		}
	}
	second := openService(t, f.dir, f.clock, token)
	f.must(nil, second.Sweep(f.ctx()))
	_, err = second.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "AccessDeniedException", "*")
	_, err = second.Encrypt(f.ctx(), &kms.EncryptInput{KeyId: aws.String("alias/doomed"), Plaintext: []byte("x")})
	wantError(t, err, "NotFoundException", "*")
	if n := f.serviceEvents("DeleteKey"); n != 1 {
		t.Errorf("%d DeleteKey events", n)
	}
}

func TestSweepDeletesWithoutBeingAsked(t *testing.T) {
	f := newService(t)
	id := f.key()
	backing := f.backings(id)[0]
	f.must(f.ScheduleKeyDeletion(f.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: &id}))
	f.clock.advance(30*day + time.Second)
	f.must(nil, f.Sweep(f.ctx()))
	if f.inToken(backing) {
		t.Error("the backing key is still there")
	}
	if out, err := f.ListKeys(f.ctx(), nil); err != nil || len(out.Keys) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestCancelledDeletionLeavesADisabledKey(t *testing.T) {
	f := newService(t)
	id := f.key()
	blob := f.encrypt(id, "text", nil)
	f.must(f.ScheduleKeyDeletion(f.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: &id}))
	out, err := f.CancelKeyDeletion(f.ctx(), &kms.CancelKeyDeletionInput{KeyId: &id})
	if err != nil || *out.KeyId != f.arn(id) {
		t.Fatalf("%+v, %v", out, err)
	}
	if m := f.describe(id); m.KeyState != types.KeyStateDisabled || m.DeletionDate != nil {
		t.Errorf("%+v", m)
	}
	f.clock.advance(31 * day)
	f.must(f.EnableKey(f.ctx(), &kms.EnableKeyInput{KeyId: &id}))
	f.decrypts(blob, "text", nil)
}

func TestSweepClearsAwayWhatCrashesLeave(t *testing.T) {
	f := newService(t)
	id := f.key()
	orphan := f.newMaterial(2)
	if err := token.GenerateKey(f.ctx(), hsm.KeyID(orphan.Backing), "orphan"); err != nil {
		t.Fatal(err)
	}
	f.edit(id, func(k *store.Key) { k.Materials = append(k.Materials, orphan) })
	half := f.begin(f.ctx(), opCreateKey).newKey(types.KeyManagerTypeCustomer)
	if err := token.GenerateKey(f.ctx(), hsm.KeyID(half.Materials[0].Backing), "half"); err != nil {
		t.Fatal(err)
	}
	err := f.config.Store.Update(f.ctx(), func(tx store.Tx) error { return tx.PutKey(f.ctx(), half) })
	f.must(nil, err)

	_, err = f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id})
	wantError(t, err, "ConflictException", "*")
	f.must(nil, f.Sweep(f.ctx()))
	if !f.inToken(hsm.KeyID(orphan.Backing)) {
		t.Error("a rotation under way was swept")
	}
	f.clock.advance(unfinishedAfter + time.Second)
	f.must(nil, f.Sweep(f.ctx()))
	if f.inToken(hsm.KeyID(orphan.Backing)) || f.inToken(hsm.KeyID(half.Materials[0].Backing)) || len(f.backings(id)) != 1 {
		t.Error("left over after the sweep")
	}
	if out, err := f.ListKeys(f.ctx(), nil); err != nil || len(out.Keys) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	f.must(f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id}))
}

// forgetful counts what the service makes the token forget.
type forgetful struct {
	hsm.Token
	forgotten map[hsm.KeyID]int
}

func (f *forgetful) Forget(id hsm.KeyID) {
	f.forgotten[id]++
	f.Token.Forget(id)
}

func TestChangedStateMakesTheTokenForget(t *testing.T) {
	watched := &forgetful{Token: token, forgotten: map[hsm.KeyID]int{}}
	f := openService(t, t.TempDir(), &clock{}, watched)
	other := openService(t, f.dir, f.clock, token)
	id := f.key()
	f.encrypt(id, "x", nil)
	backing := f.backings(id)[0]
	f.must(other.UpdateKeyDescription(f.ctx(), &kms.UpdateKeyDescriptionInput{KeyId: &id, Description: aws.String("same state")}))
	f.encrypt(id, "x", nil)
	if n := watched.forgotten[backing]; n != 0 {
		t.Errorf("forgotten %d times without a change of state", n)
	}
	f.must(other.DisableKey(f.ctx(), &kms.DisableKeyInput{KeyId: &id}))
	f.must(nil, f.Sweep(f.ctx()))
	if n := watched.forgotten[backing]; n != 1 {
		t.Errorf("another process's change: forgotten %d times", n)
	}
	f.must(f.EnableKey(f.ctx(), &kms.EnableKeyInput{KeyId: &id}))
	if n := watched.forgotten[backing]; n < 2 {
		t.Errorf("own change: forgotten %d times", n)
	}
}

func TestManagedKeyIsMadeOnFirstUseAndCannotBeManaged(t *testing.T) {
	f := newService(t)
	if out, err := f.ListKeys(f.ctx(), nil); err != nil || len(out.Keys) != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	const alias = "alias/aws/kmsfs"
	_, err := f.Encrypt(as(f.ctx(), userARN), &kms.EncryptInput{KeyId: aws.String(alias), Plaintext: []byte("x")})
	wantError(t, err, "AccessDeniedException", "*")
	if out, err := f.ListKeys(f.ctx(), nil); err != nil || len(out.Keys) != 0 {
		t.Fatalf("made for a stranger: %+v, %v", out, err)
	}
	made, err := f.GenerateDataKey(f.ctx(), &kms.GenerateDataKeyInput{KeyId: aws.String(alias), KeySpec: types.DataKeySpecAes256})
	f.must(made, err)
	m := f.describe("arn:aws:kms:" + testRegion + ":" + testAccount + ":" + alias)
	if m.KeyManager != types.KeyManagerTypeAws || *m.Arn != *made.KeyId {
		t.Errorf("%+v", m)
	}
	id := *m.KeyId
	for name, call := range map[string]func() error{
		"DisableKey": func() error { _, err := f.DisableKey(f.ctx(), &kms.DisableKeyInput{KeyId: &id}); return err },
		"ScheduleKeyDeletion": func() error {
			_, err := f.ScheduleKeyDeletion(f.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: &id})
			return err
		},
		"DisableKeyRotation": func() error {
			_, err := f.DisableKeyRotation(f.ctx(), &kms.DisableKeyRotationInput{KeyId: &id})
			return err
		},
		"RotateKeyOnDemand": func() error {
			_, err := f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id})
			return err
		},
		"CreateAlias": func() error {
			_, err := f.CreateAlias(f.ctx(), &kms.CreateAliasInput{AliasName: aws.String("alias/mine"), TargetKeyId: &id})
			return err
		},
	} {
		wantError(t, call(), "AccessDeniedException", "User: arn:aws:iam::111122223333:root is not authorized to perform: kms:"+name+
			" on resource: "+f.arn(id)+" because no resource-based policy allows the kms:"+name+" action")
	}
	_, err = f.DeleteAlias(f.ctx(), &kms.DeleteAliasInput{AliasName: aws.String(alias)})
	wantError(t, err, "NotAuthorizedException", "")
	_, err = f.DescribeKey(f.ctx(), &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/kmfs")})
	wantError(t, err, "NotFoundException", "*")
	if out, err := f.GetKeyRotationStatus(f.ctx(), &kms.GetKeyRotationStatusInput{KeyId: &id}); err != nil || !out.KeyRotationEnabled || *out.RotationPeriodInDays != 365 {
		t.Errorf("%+v, %v", out, err)
	}
	f.clock.advance(366 * day)
	f.encrypt(alias, "x", nil)
	if now := f.describe(id); *now.CurrentKeyMaterialId == *m.CurrentKeyMaterialId {
		t.Error("the managed key doesn't rotate")
	}
	f.decrypts(made.CiphertextBlob, string(made.Plaintext), nil)
}

func TestManagedKeyIsMadeOnceByManyAtOnce(t *testing.T) {
	f := newService(t)
	services := []*fixture{f, openService(t, f.dir, f.clock, token), openService(t, f.dir, f.clock, token)}
	results := make(chan string)
	for _, s := range services {
		go func() {
			out, err := s.DescribeKey(context.Background(), &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/kmsfs")})
			if err != nil {
				t.Error(err)
				results <- ""
				return
			}
			results <- *out.KeyMetadata.KeyId
		}()
	}
	one := <-results
	for range services[1:] {
		if other := <-results; other != one {
			t.Errorf("keys %s and %s", one, other)
		}
	}
	if out, err := f.ListKeys(f.ctx(), nil); err != nil || len(out.Keys) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestRegionsHaveKeysOfTheirOwn(t *testing.T) {
	f := newService(t)
	west := WithCaller(f.ctx(), Caller{Region: "us-west-2"})
	out, err := f.CreateKey(west, nil)
	f.must(out, err)
	if want := "arn:aws:kms:us-west-2:111122223333:key/" + *out.KeyMetadata.KeyId; *out.KeyMetadata.Arn != want {
		t.Errorf("%s, want %s", *out.KeyMetadata.Arn, want)
	}
	f.must(f.CreateAlias(west, &kms.CreateAliasInput{AliasName: aws.String("alias/x"), TargetKeyId: out.KeyMetadata.KeyId}))
	f.must(f.Encrypt(west, &kms.EncryptInput{KeyId: aws.String("alias/x"), Plaintext: []byte("x")}))
	_, err = f.Encrypt(f.ctx(), &kms.EncryptInput{KeyId: aws.String("alias/x"), Plaintext: []byte("x")})
	wantError(t, err, "NotFoundException", "*")
	_, err = f.DescribeKey(f.ctx(), &kms.DescribeKeyInput{KeyId: out.KeyMetadata.KeyId})
	wantError(t, err, "NotFoundException", "*")
}

func TestTokenFailureIsAFaultAndLeavesNoKey(t *testing.T) {
	broken := &failing{Token: token}
	f := openService(t, t.TempDir(), &clock{}, broken)
	id := f.key()
	blob := f.encrypt(id, "x", nil)
	broken.fail = true
	_, err := f.CreateKey(f.ctx(), nil)
	wantError(t, err, "KeyUnavailableException", "*")
	_, err = f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id})
	wantError(t, err, "KeyUnavailableException", "*")
	_, err = f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "KeyUnavailableException", "*")
	broken.fail = false
	if out, err := f.ListKeys(f.ctx(), nil); err != nil || len(out.Keys) != 1 || len(f.backings(id)) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	f.decrypts(blob, "x", nil)
}

// hanging is the real token, which doesn't answer when it is to destroy a key.
type hanging struct{ hsm.Token }

func (hanging) DestroyKey(ctx context.Context, _ hsm.KeyID) error {
	<-ctx.Done()
	return &hsm.Error{Op: "DestroyKey", Kind: hsm.KindCanceled, Err: ctx.Err()}
}

func TestTokenThatHangsHoldsTheStoreForALimitedTime(t *testing.T) {
	f := openService(t, t.TempDir(), &clock{}, hanging{token})
	f.patience = 20 * time.Millisecond
	id := f.key()
	f.must(f.ScheduleKeyDeletion(f.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)}))
	f.clock.advance(7 * day)
	if err := f.Sweep(f.ctx()); err == nil {
		t.Error("no error")
	}
	other := openService(t, f.dir, f.clock, token)
	other.key()
	f.must(nil, other.Sweep(f.ctx()))
	if n := other.serviceEvents("DeleteKey"); n != 1 {
		t.Errorf("%d deletions", n)
	}
}

func TestExpiredMaterialIsOfNoUseThoughTheTokenKeepsIt(t *testing.T) {
	f := newService(t)
	id := f.external(types.KeySpecSymmetricDefault, "")
	p := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1)
	f.must(nil, p.importMaterial(p.wrap(make([]byte, 32)), validTo(f.clock.now().Add(time.Hour))))
	blob := f.encrypt(id, "text", nil)
	stuck := openService(t, f.dir, f.clock, hanging{token})
	stuck.patience = 20 * time.Millisecond
	f.clock.advance(time.Hour)
	_, err := stuck.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "KMSInvalidStateException", f.arn(id)+" is pending import.")
	if m := stuck.describe(id); m.KeyState != types.KeyStatePendingImport {
		t.Errorf("%+v", m)
	}
	f.must(stuck.GetKeyLastUsage(f.ctx(), &kms.GetKeyLastUsageInput{KeyId: &id}))
	if err := stuck.Sweep(f.ctx()); err == nil {
		t.Error("a sweep doesn't tell")
	}
}

// failing is the real token with failures put in front of it.
type failing struct {
	hsm.Token
	fail bool
}

func (f *failing) GenerateKey(ctx context.Context, id hsm.KeyID, label string) error {
	if f.fail {
		return &hsm.Error{Op: "GenerateKey", Kind: hsm.KindUnavailable}
	}
	return f.Token.GenerateKey(ctx, id, label)
}

func (f *failing) Unwrap(ctx context.Context, id hsm.KeyID, blob, aad []byte) ([]byte, error) {
	if f.fail {
		return nil, &hsm.Error{Op: "Unwrap", Kind: hsm.KindUnavailable}
	}
	return f.Token.Unwrap(ctx, id, blob, aad)
}
