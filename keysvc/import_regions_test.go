package keysvc

import (
	"bytes"
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

const (
	thirdRegion   = "ap-south-1"
	pending       = types.KeyMaterialStatePendingRotation
	pendingImport = types.KeyMaterialStatePendingMultiRegionImportAndRotation
)

// family is a multi-Region key of imported material with its replicas.
type family struct {
	*fixture
	id    string
	first *parameters // of the key's own region
}

// in is a context whose calls go to a region.
func (f *family) in(region string) context.Context {
	return WithCaller(f.ctx(), Caller{Region: region})
}

// bring imports 32 times a byte in a region.
func (f *family) bring(region string, material byte, change func(*kms.ImportKeyMaterialInput)) error {
	f.t.Helper()
	in := &kms.ImportKeyMaterialInput{KeyId: &f.id, ImportToken: f.first.out.ImportToken, EncryptedKeyMaterial: f.first.wrap(bytes.Repeat([]byte{material}, 32)),
		ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire}
	if change != nil {
		change(in)
	}
	_, err := f.ImportKeyMaterial(f.in(region), in)
	return err
}

func asNew(in *kms.ImportKeyMaterialInput) { in.ImportType = types.ImportTypeNewKeyMaterial }

// newFamily makes a key with replicas in the regions, all with the material 1.
func newFamily(t *testing.T, regions ...string) *family {
	t.Helper()
	f := &family{fixture: newService(t)}
	made, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true), Origin: types.OriginTypeExternal})
	f.must(made, err)
	f.id = *made.KeyMetadata.KeyId
	f.first = f.parameters(f.id, types.AlgorithmSpecRsaesOaepSha1)
	f.must(nil, f.bring(testRegion, 1, nil))
	for _, region := range regions {
		f.replicate(region)
		f.must(nil, f.bring(region, 1, nil))
	}
	return f
}

// replicate makes a replica, for whose imports the primary key's wrapping key will do, as
// to make another takes long.
func (f *family) replicate(region string) {
	f.t.Helper()
	f.must(f.ReplicateKey(f.ctx(), &kms.ReplicateKeyInput{KeyId: &f.id, ReplicaRegion: &region}))
	wrapping := f.first.stored()
	wrapping.Region = region
	f.must(nil, f.config.Store.Update(f.ctx(), func(tx store.Tx) error { return tx.PutImport(f.ctx(), wrapping) }))
}

func (f *family) rotate(region string) error {
	_, err := f.RotateKeyOnDemand(f.in(region), &kms.RotateKeyOnDemandInput{KeyId: &f.id})
	return err
}

// material lists a region's materials, newest last.
func (f *family) material(region string) []types.RotationsListEntry {
	f.t.Helper()
	out, err := f.ListKeyRotations(f.in(region), &kms.ListKeyRotationsInput{KeyId: &f.id, IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial})
	f.must(out, err)
	return out.Rotations
}

// has checks the newest material of regions.
func (f *family) has(count int, state types.KeyMaterialState, imported map[string]types.ImportState) {
	f.t.Helper()
	for region, want := range imported {
		list := f.material(region)
		if len(list) != count || list[count-1].KeyMaterialState != state || list[count-1].ImportState != want {
			f.t.Fatalf("%s: %+v, want %d with %s, %s", region, list, count, state, want)
		}
	}
}

// sealed is a text under the key as it is in a region.
func (f *family) sealed(region, text string) []byte {
	f.t.Helper()
	out, err := f.Encrypt(f.in(region), &kms.EncryptInput{KeyId: &f.id, Plaintext: []byte(text)})
	f.must(out, err)
	return out.CiphertextBlob
}

// opensEverywhere checks that a ciphertext can be opened in the regions.
func (f *family) opensEverywhere(blob []byte, regions ...string) {
	f.t.Helper()
	for _, region := range regions {
		f.must(f.Decrypt(f.in(region), &kms.DecryptInput{CiphertextBlob: blob}))
	}
}

const here, missing = types.ImportStateImported, types.ImportStatePendingImport

func TestNewMaterialComesToEveryRegionBeforeItIsRotatedTo(t *testing.T) {
	f := newFamily(t, otherRegion, thirdRegion)
	old := f.sealed(thirdRegion, "old")
	wantError(t, f.bring(otherRegion, 2, asNew), "UnsupportedOperationException", arnThere(f.id)+" is a multi-region replica key, to which new key material comes by its primary key.")
	wantError(t, f.bring(otherRegion, 2, nil), "IncorrectKeyMaterialException", "*")
	f.must(nil, f.bring(testRegion, 2, asNew))
	f.has(2, pendingImport, map[string]types.ImportState{testRegion: here, otherRegion: missing, thirdRegion: missing})
	wantError(t, f.rotate(testRegion), "KMSInvalidStateException", "No available key material pending rotation for the key: "+f.arn(f.id))
	for _, region := range []string{testRegion, otherRegion, thirdRegion} { // each goes on with the old material
		f.opensEverywhere(f.sealed(region, "x"), testRegion, otherRegion, thirdRegion)
	}
	id := f.material(testRegion)[1].KeyMaterialId
	wantError(t, f.bring(otherRegion, 3, nil), "IncorrectKeyMaterialException", "*")
	f.must(nil, f.bring(otherRegion, 2, func(in *kms.ImportKeyMaterialInput) {
		in.ImportType, in.KeyMaterialId, in.KeyMaterialDescription = types.ImportTypeExistingKeyMaterial, id, aws.String("there")
	}))
	f.has(2, pendingImport, map[string]types.ImportState{testRegion: here, otherRegion: here, thirdRegion: missing})
	f.must(nil, f.bring(thirdRegion, 2, nil))
	f.has(2, pending, map[string]types.ImportState{testRegion: here, otherRegion: here, thirdRegion: here})
	wantError(t, f.rotate(otherRegion), "UnsupportedOperationException", "*")
	f.must(nil, f.rotate(testRegion))
	f.has(2, types.KeyMaterialStateCurrent, map[string]types.ImportState{testRegion: here, otherRegion: here, thirdRegion: here})
	fresh := f.sealed(otherRegion, "new")
	opened, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: fresh})
	if err != nil || *opened.KeyMaterialId != *id || *f.material(otherRegion)[1].KeyMaterialDescription != "there" {
		t.Errorf("%+v, %v", opened, err)
	}
	f.opensEverywhere(fresh, testRegion, otherRegion, thirdRegion)
	f.opensEverywhere(old, testRegion, otherRegion, thirdRegion)
}

func TestPendingMaterialIsForgottenWithThePrimarys(t *testing.T) {
	f := newFamily(t, otherRegion)
	f.must(nil, f.bring(testRegion, 2, asNew))
	f.must(nil, f.bring(otherRegion, 2, nil))
	f.has(2, pending, map[string]types.ImportState{testRegion: here, otherRegion: here})
	id, backing := f.material(testRegion)[1].KeyMaterialId, hsm.KeyID(f.backings(f.id)[1])
	remove := func(region string) {
		t.Helper()
		f.must(f.DeleteImportedKeyMaterial(f.in(region), &kms.DeleteImportedKeyMaterialInput{KeyId: &f.id, KeyMaterialId: id}))
	}
	remove(otherRegion) // the primary key has it still, and waits for the replica again
	f.has(2, pendingImport, map[string]types.ImportState{testRegion: here, otherRegion: missing})
	if m := f.describeThere(f.id); m.KeyState != types.KeyStateEnabled || !f.inToken(backing) {
		t.Errorf("%+v", m)
	}
	wantError(t, f.rotate(testRegion), "KMSInvalidStateException", "*")
	f.must(nil, f.bring(otherRegion, 2, nil))
	f.has(2, pending, map[string]types.ImportState{testRegion: here, otherRegion: here})
	remove(testRegion)
	f.has(1, types.KeyMaterialStateCurrent, map[string]types.ImportState{testRegion: here, otherRegion: here})
	if f.inToken(backing) {
		t.Error("forgotten material is left in the token")
	}
	wantError(t, f.bring(otherRegion, 2, nil), "IncorrectKeyMaterialException", "*")
	f.must(nil, f.bring(testRegion, 3, asNew)) // other material in its place
	f.has(2, pendingImport, map[string]types.ImportState{testRegion: here, otherRegion: missing})
}

func TestPendingMaterialOfAReplicaExpires(t *testing.T) {
	f := newFamily(t, otherRegion)
	f.must(nil, f.bring(testRegion, 2, asNew))
	f.must(nil, f.bring(otherRegion, 2, validTo(f.clock.now().Add(time.Hour))))
	f.has(2, pending, map[string]types.ImportState{testRegion: here, otherRegion: here})
	f.clock.advance(time.Hour)
	f.must(nil, f.Sweep(f.ctx()))
	f.has(2, pendingImport, map[string]types.ImportState{testRegion: here, otherRegion: missing})
	f.opensEverywhere(f.sealed(testRegion, "x"), otherRegion)
}

func TestReplicasThatComeAndGoCountForPendingMaterial(t *testing.T) {
	f := newFamily(t)
	f.must(nil, f.bring(testRegion, 2, asNew))
	f.has(2, pending, map[string]types.ImportState{testRegion: here}) // without replicas nothing is waited for
	f.replicate(otherRegion)
	f.has(2, pendingImport, map[string]types.ImportState{testRegion: here, otherRegion: missing})
	if m := f.describeThere(f.id); m.KeyState != types.KeyStatePendingImport {
		t.Errorf("%+v", m)
	}
	f.must(nil, f.bring(otherRegion, 2, nil)) // in any order
	f.has(2, pending, map[string]types.ImportState{testRegion: here, otherRegion: here})
	if m := f.describeThere(f.id); m.KeyState != types.KeyStatePendingImport {
		t.Errorf("%+v", m)
	}
	f.must(nil, f.bring(otherRegion, 1, nil))
	if m := f.describeThere(f.id); m.KeyState != types.KeyStateEnabled {
		t.Errorf("%+v", m)
	}
	f.replicate(thirdRegion)
	f.has(2, pendingImport, map[string]types.ImportState{testRegion: here, otherRegion: here, thirdRegion: missing})
	f.must(f.ScheduleKeyDeletion(f.in(thirdRegion), &kms.ScheduleKeyDeletionInput{KeyId: &f.id, PendingWindowInDays: aws.Int32(7)}))
	f.has(2, pendingImport, map[string]types.ImportState{testRegion: here})
	f.clock.advance(7 * day)
	f.must(nil, f.Sweep(f.ctx()))
	f.has(2, pending, map[string]types.ImportState{testRegion: here, otherRegion: here})
	f.must(nil, f.rotate(testRegion))
	f.opensEverywhere(f.sealed(testRegion, "x"), otherRegion)
}

func TestPrimaryRegionMovesWhileMaterialIsPending(t *testing.T) {
	f := newFamily(t, otherRegion)
	f.must(nil, f.bring(testRegion, 2, asNew))
	f.must(f.UpdatePrimaryRegion(f.ctx(), &kms.UpdatePrimaryRegionInput{KeyId: &f.id, PrimaryRegion: aws.String(otherRegion)}))
	f.has(2, pendingImport, map[string]types.ImportState{testRegion: here, otherRegion: missing})
	wantError(t, f.rotate(otherRegion), "KMSInvalidStateException", "*")
	f.must(nil, f.bring(otherRegion, 2, nil))
	f.has(2, pending, map[string]types.ImportState{testRegion: here, otherRegion: here})
	f.must(nil, f.rotate(otherRegion))
	f.has(2, types.KeyMaterialStateCurrent, map[string]types.ImportState{testRegion: here, otherRegion: here})
	f.opensEverywhere(f.sealed(testRegion, "x"), testRegion, otherRegion)
}

// Materials of one key have numbers, which related keys decide about independently while
// imports are under way.
func TestImportUnderWayInAReplicaIsNotInTheWayOfNewMaterial(t *testing.T) {
	f := newFamily(t, otherRegion)
	there := store.KeyRef{Scope: inRegion(f.scope(), otherRegion), ID: f.id}
	begun := f.newMaterial(2)
	f.must(nil, f.update(f.ctx(), there, func(_ store.Tx, key *store.Key) error {
		key.Materials = append(key.Materials, begun)
		return nil
	}))
	f.must(nil, f.bring(testRegion, 2, asNew))
	f.has(2, pendingImport, map[string]types.ImportState{testRegion: here, otherRegion: missing})
	k, err := f.load(f.ctx(), there)
	f.must(k, err)
	if i := slices.IndexFunc(k.Materials, func(m store.Material) bool { return m.Backing == begun.Backing }); i < 0 || k.Materials[i].State != store.MaterialCreating {
		t.Errorf("%+v", k.Materials)
	}
	f.must(nil, f.dropMaterial(f.ctx(), there, begun.Backing))
	f.must(nil, f.bring(otherRegion, 2, nil))
	f.has(2, pending, map[string]types.ImportState{testRegion: here, otherRegion: here})
}
