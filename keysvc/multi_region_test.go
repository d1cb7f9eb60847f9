package keysvc

import (
	"context"
	"regexp"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const otherRegion = "us-west-2"

// there is a context whose calls go to the other region.
func (f *fixture) there() context.Context {
	return WithCaller(f.ctx(), Caller{Region: otherRegion})
}

// primaryKey makes a multi-Region key.
func (f *fixture) primaryKey() string {
	f.t.Helper()
	out, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})
	f.must(out, err)
	return *out.KeyMetadata.KeyId
}

// replicated makes a multi-Region key with a replica in the other region.
func (f *fixture) replicated() string {
	f.t.Helper()
	id := f.primaryKey()
	f.must(f.ReplicateKey(f.ctx(), &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String(otherRegion)}))
	return id
}

func (f *fixture) describeThere(id string) *types.KeyMetadata {
	f.t.Helper()
	out, err := f.DescribeKey(f.there(), &kms.DescribeKeyInput{KeyId: &id})
	f.must(out, err)
	return out.KeyMetadata
}

func arnThere(id string) string {
	return "arn:aws:kms:" + otherRegion + ":" + testAccount + ":key/" + id
}

func TestReplicaSharesIDAndMaterialAndNothingElse(t *testing.T) {
	f := newService(t)
	made, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true), Description: aws.String("primary")})
	f.must(made, err)
	m := made.KeyMetadata
	id := *m.KeyId
	if !regexp.MustCompile(`^mrk-[0-9a-f]{32}$`).MatchString(id) || !*m.MultiRegion || m.MultiRegionConfiguration.MultiRegionKeyType != types.MultiRegionKeyTypePrimary ||
		*m.MultiRegionConfiguration.PrimaryKey.Arn != f.arn(id) || len(m.MultiRegionConfiguration.ReplicaKeys) != 0 {
		t.Fatalf("%+v", m)
	}
	out, err := f.ReplicateKey(f.ctx(), &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String(otherRegion), Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("b")}}})
	f.must(out, err)
	if r := out.ReplicaKeyMetadata; r.KeyState != types.KeyStateCreating || r.Enabled || *r.Arn != arnThere(id) || *r.Description != "" || len(out.ReplicaTags) != 1 {
		t.Errorf("%+v", out)
	}
	r := f.describeThere(id)
	if c := r.MultiRegionConfiguration; r.KeyState != types.KeyStateEnabled || c.MultiRegionKeyType != types.MultiRegionKeyTypeReplica || *c.PrimaryKey.Region != testRegion ||
		len(c.ReplicaKeys) != 1 || *c.ReplicaKeys[0].Arn != arnThere(id) || *r.CurrentKeyMaterialId != *m.CurrentKeyMaterialId {
		t.Errorf("%+v, %+v", r, r.MultiRegionConfiguration)
	}
	blob := f.encrypt(id, "text", map[string]string{"a": "b"})
	opened, err := f.Decrypt(f.there(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"a": "b"}})
	if err != nil || string(opened.Plaintext) != "text" || *opened.KeyId != arnThere(id) {
		t.Fatalf("%+v, %v", opened, err)
	}
	f.must(f.DisableKey(f.ctx(), &kms.DisableKeyInput{KeyId: &id}))
	f.must(f.Decrypt(f.there(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"a": "b"}}))
	f.must(f.CreateAlias(f.there(), &kms.CreateAliasInput{AliasName: aws.String("alias/there"), TargetKeyId: &id}))
	if list, err := f.ListAliases(f.ctx(), nil); err != nil || len(list.Aliases) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	one := f.key()
	_, err = f.Decrypt(f.there(), &kms.DecryptInput{CiphertextBlob: f.encrypt(one, "x", nil)})
	wantError(t, err, "AccessDeniedException", "*")
}

func TestReplicateKeyRefuses(t *testing.T) {
	f := newService(t)
	id, single := f.replicated(), f.key()
	replicate := func(ctx context.Context, key, region string) error {
		_, err := f.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &key, ReplicaRegion: &region})
		return err
	}
	wantError(t, replicate(f.ctx(), single, otherRegion), "UnsupportedOperationException", f.arn(single)+" is not a multi-region primary key.")
	wantError(t, replicate(f.there(), id, "eu-west-1"), "UnsupportedOperationException", arnThere(id)+" is not a multi-region primary key.")
	wantError(t, replicate(f.ctx(), id, otherRegion), "AlreadyExistsException", "*")
	wantError(t, replicate(f.ctx(), id, testRegion), "AlreadyExistsException", "*")
	wantError(t, replicate(f.ctx(), id, "nowhere"), "ValidationException", "*")
	wantError(t, replicate(WithCaller(f.ctx(), Caller{ARN: userARN}), id, "eu-west-1"), "AccessDeniedException", "*")
}

func TestRotationOfThePrimaryReachesItsReplicas(t *testing.T) {
	f := newService(t)
	id := f.replicated()
	old := f.encrypt(id, "old", nil)
	f.must(f.EnableKeyRotation(f.ctx(), &kms.EnableKeyRotationInput{KeyId: &id}))
	status, err := f.GetKeyRotationStatus(f.there(), &kms.GetKeyRotationStatusInput{KeyId: &id})
	if err != nil || !status.KeyRotationEnabled {
		t.Errorf("%+v, %v", status, err)
	}
	f.must(f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id}))
	f.clock.advance(366 * day)
	fresh, err := f.Encrypt(f.there(), &kms.EncryptInput{KeyId: &id, Plaintext: []byte("new")})
	f.must(fresh, err)
	f.must(nil, f.Sweep(f.ctx()))
	if a, b := f.describe(id), f.describeThere(id); *a.CurrentKeyMaterialId != *b.CurrentKeyMaterialId || len(f.backings(id)) != 3 {
		t.Errorf("%d materials; current %s and %s", len(f.backings(id)), *a.CurrentKeyMaterialId, *b.CurrentKeyMaterialId)
	}
	for text, blob := range map[string][]byte{"old": old, "new": fresh.CiphertextBlob, "newest": f.encrypt(id, "newest", nil)} {
		f.decrypts(blob, text, nil)
		out, err := f.Decrypt(f.there(), &kms.DecryptInput{CiphertextBlob: blob})
		if err != nil || string(out.Plaintext) != text {
			t.Errorf("%s there: %v", text, err)
		}
	}
	_, err = f.RotateKeyOnDemand(f.there(), &kms.RotateKeyOnDemandInput{KeyId: &id})
	wantError(t, err, "UnsupportedOperationException", "*")
	_, err = f.DisableKeyRotation(f.there(), &kms.DisableKeyRotationInput{KeyId: &id})
	wantError(t, err, "UnsupportedOperationException", "*")
	events := 0
	for _, r := range f.records() {
		if r.EventName == "SynchronizeMultiRegionKey" && r.AWSRegion == otherRegion {
			events++
		}
	}
	if events != 2 {
		t.Errorf("%d records of synchronisation", events)
	}
}

func TestPrimaryRegionMoves(t *testing.T) {
	f := newService(t)
	id := f.replicated()
	_, err := f.UpdatePrimaryRegion(f.ctx(), &kms.UpdatePrimaryRegionInput{KeyId: &id, PrimaryRegion: aws.String("eu-west-1")})
	wantError(t, err, "NotFoundException", "*")
	f.must(f.UpdatePrimaryRegion(f.ctx(), &kms.UpdatePrimaryRegionInput{KeyId: &id, PrimaryRegion: aws.String(otherRegion)}))
	here, there := f.describe(id).MultiRegionConfiguration, f.describeThere(id).MultiRegionConfiguration
	if here.MultiRegionKeyType != types.MultiRegionKeyTypeReplica || there.MultiRegionKeyType != types.MultiRegionKeyTypePrimary ||
		*here.PrimaryKey.Region != otherRegion || *there.ReplicaKeys[0].Region != testRegion {
		t.Errorf("%+v, %+v", here, there)
	}
	_, err = f.UpdatePrimaryRegion(f.ctx(), &kms.UpdatePrimaryRegionInput{KeyId: &id, PrimaryRegion: aws.String(otherRegion)})
	wantError(t, err, "UnsupportedOperationException", f.arn(id)+" is not a multi-region primary key.")
	f.must(f.RotateKeyOnDemand(f.there(), &kms.RotateKeyOnDemandInput{KeyId: &id}))
	if len(f.backings(id)) != 2 {
		t.Error("the new primary's rotation didn't reach the old one")
	}
}

func TestPrimaryIsDeletedAfterItsReplicasAndMaterialWithTheLast(t *testing.T) {
	f := newService(t)
	id := f.replicated()
	blob, backing := f.encrypt(id, "text", nil), f.backings(id)[0]
	f.must(f.EnableKeyRotation(f.ctx(), &kms.EnableKeyRotationInput{KeyId: &id}))
	out, err := f.ScheduleKeyDeletion(f.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)})
	if err != nil || out.KeyState != types.KeyStatePendingReplicaDeletion || out.DeletionDate != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	status, err := f.GetKeyRotationStatus(f.ctx(), &kms.GetKeyRotationStatusInput{KeyId: &id})
	if err != nil || status.KeyRotationEnabled {
		t.Errorf("%+v, %v", status, err)
	}
	f.clock.advance(8 * day)
	f.must(nil, f.Sweep(f.ctx()))
	if m := f.describe(id); m.KeyState != types.KeyStatePendingReplicaDeletion || *m.PendingDeletionWindowInDays != 7 {
		t.Errorf("%+v", m)
	}
	f.must(f.Decrypt(f.there(), &kms.DecryptInput{CiphertextBlob: blob}))
	f.must(f.ScheduleKeyDeletion(f.there(), &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)}))
	f.clock.advance(7*day + time.Second)
	f.must(nil, f.Sweep(f.ctx()))
	if m := f.describe(id); m.KeyState != types.KeyStatePendingDeletion || m.DeletionDate.Sub(f.clock.now()) < 6*day || !f.inToken(backing) {
		t.Errorf("%+v", m)
	}
	f.clock.advance(7*day + time.Second)
	f.must(nil, f.Sweep(f.ctx()))
	if f.inToken(backing) {
		t.Error("the material is left in the token")
	}
}

func TestImportedMaterialOfReplicasIsImportedInEachRegion(t *testing.T) {
	f := newService(t)
	made, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true), Origin: types.OriginTypeExternal})
	f.must(made, err)
	id := *made.KeyMetadata.KeyId
	p := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1)
	f.must(nil, p.importMaterial(p.wrap(make([]byte, 32)), nil))
	blob := f.encrypt(id, "text", nil)
	f.must(f.ReplicateKey(f.ctx(), &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String(otherRegion)}))
	_, err = f.Decrypt(f.there(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "KMSInvalidStateException", arnThere(id)+" is pending import.")
	q, err := f.GetParametersForImport(f.there(), &kms.GetParametersForImportInput{KeyId: &id, WrappingAlgorithm: types.AlgorithmSpecRsaesOaepSha1, WrappingKeySpec: types.WrappingKeySpecRsa2048})
	f.must(q, err)
	bring := func(material []byte) error {
		_, err := f.ImportKeyMaterial(f.there(), &kms.ImportKeyMaterialInput{KeyId: &id, ImportToken: q.ImportToken,
			EncryptedKeyMaterial: (&parameters{f, id, types.AlgorithmSpecRsaesOaepSha1, q}).wrap(material), ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire})
		return err
	}
	other := make([]byte, 32)
	other[0] = 1
	wantError(t, bring(other), "IncorrectKeyMaterialException", "*")
	f.must(nil, bring(make([]byte, 32)))
	f.must(f.Decrypt(f.there(), &kms.DecryptInput{CiphertextBlob: blob}))
	f.must(f.DeleteImportedKeyMaterial(f.ctx(), &kms.DeleteImportedKeyMaterialInput{KeyId: &id}))
	f.must(f.Decrypt(f.there(), &kms.DecryptInput{CiphertextBlob: blob}))
	f.must(f.DeleteImportedKeyMaterial(f.there(), &kms.DeleteImportedKeyMaterialInput{KeyId: &id}))
	if f.inToken(f.backings(id)[0]) {
		t.Error("deleted material is left in the token")
	}
}
