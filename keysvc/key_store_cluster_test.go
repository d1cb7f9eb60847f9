package keysvc

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/pkcs11"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// The clusters of the tests: a second SoftHSM token, the service's own, and one
// that the configuration names but that isn't there.
const (
	clusterPIN     = "second-token-pin"
	secondCluster  = "cluster-secondtoken"
	ownCluster     = "cluster-theservices"
	missingCluster = "cluster-nosuchtoken"
)

type testClusters struct{}

func (testClusters) labels() map[string]string {
	return map[string]string{secondCluster: "second", ownCluster: "test", missingCluster: "nowhere"}
}

func (c testClusters) HasCluster(id string) (bool, error) { return c.labels()[id] != "", nil }

func (c testClusters) OpenCluster(ctx context.Context, id string, pin []byte) (hsm.Token, error) {
	return pkcs11.Open(ctx, pkcs11.Config{TokenLabel: c.labels()[id], PIN: pin, SoftHSMConf: pkcs11.SoftHSMConf(tokenDir)})
}

// hasKey asks a token itself for a backing key.
func hasKey(t *testing.T, cluster string, id hsm.KeyID) bool {
	t.Helper()
	other, err := testClusters{}.OpenCluster(t.Context(), cluster, []byte(map[string]string{secondCluster: clusterPIN, ownCluster: "123456"}[cluster]))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	has, err := other.HasKey(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return has
}

// clusterStore makes a key store on a cluster and returns its id.
func (f *fixture) clusterStore(cluster, pin string) string {
	f.t.Helper()
	out, err := f.CreateCustomKeyStore(f.ctx(), &kms.CreateCustomKeyStoreInput{
		CustomKeyStoreName: aws.String("on " + cluster), CloudHsmClusterId: &cluster, KeyStorePassword: &pin})
	if err != nil {
		f.t.Fatal(err)
	}
	return *out.CustomKeyStoreId
}

func (f *fixture) connect(id string) {
	f.t.Helper()
	if _, err := f.ConnectCustomKeyStore(f.ctx(), &kms.ConnectCustomKeyStoreInput{CustomKeyStoreId: &id}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) disconnect(id string) {
	f.t.Helper()
	if _, err := f.DisconnectCustomKeyStore(f.ctx(), &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: &id}); err != nil {
		f.t.Fatal(err)
	}
}

// describeStore returns a key store as it is shown.
func (f *fixture) describeStore(id string) types.CustomKeyStoresListEntry {
	f.t.Helper()
	out, err := f.DescribeCustomKeyStores(f.ctx(), &kms.DescribeCustomKeyStoresInput{CustomKeyStoreId: &id})
	if err != nil || len(out.CustomKeyStores) != 1 {
		f.t.Fatal(out, err)
	}
	return out.CustomKeyStores[0]
}

func (f *fixture) wantConnection(id string, state types.ConnectionStateType, code types.ConnectionErrorCodeType) {
	f.t.Helper()
	if ks := f.describeStore(id); ks.ConnectionState != state || ks.ConnectionErrorCode != code {
		f.t.Fatalf("%s is %s %q, want %s %q", id, ks.ConnectionState, ks.ConnectionErrorCode, state, code)
	}
}

// clusterKey makes a key in a key store.
func (f *fixture) clusterKey(id string) *types.KeyMetadata {
	f.t.Helper()
	out, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{CustomKeyStoreId: &id, Origin: types.OriginTypeAwsCloudhsm})
	if err != nil {
		f.t.Fatal(err)
	}
	return out.KeyMetadata
}

func (f *fixture) backing(key string) hsm.KeyID {
	f.t.Helper()
	k, err := f.lookup(f.ctx(), store.KeyRef{Scope: f.scope(), ID: key})
	if err != nil {
		f.t.Fatal(err)
	}
	return hsm.KeyID(k.Materials[0].Backing)
}

func TestKeysOfACloudHSMKeyStoreAreInTheSecondToken(t *testing.T) {
	f := newService(t)
	id := f.clusterStore(secondCluster, clusterPIN)
	f.wantConnection(id, types.ConnectionStateTypeDisconnected, "")
	_, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{CustomKeyStoreId: &id, Origin: types.OriginTypeAwsCloudhsm})
	wantError(t, err, "CustomKeyStoreInvalidStateException", "*")
	f.connect(id)
	f.wantConnection(id, types.ConnectionStateTypeConnected, "")
	key := f.clusterKey(id)
	if *key.CustomKeyStoreId != id || *key.CloudHsmClusterId != secondCluster || key.Origin != types.OriginTypeAwsCloudhsm || key.CurrentKeyMaterialId != nil || !key.Enabled {
		t.Errorf("%+v", key)
	}
	backing := f.backing(*key.KeyId)
	if !hasKey(t, secondCluster, backing) || hasKey(t, ownCluster, backing) {
		t.Error("the backing key is in the wrong token")
	}
	pairs := map[string]string{"path": "/a"}
	made, err := f.GenerateDataKey(f.ctx(), &kms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: types.DataKeySpecAes256, EncryptionContext: pairs})
	if err != nil || made.KeyMaterialId != nil {
		t.Fatal(made, err)
	}
	if out := f.decrypts(made.CiphertextBlob, string(made.Plaintext), pairs); out.KeyMaterialId != nil {
		t.Error(*out.KeyMaterialId)
	}
	other := f.key()
	moved, err := f.ReEncrypt(f.ctx(), &kms.ReEncryptInput{CiphertextBlob: made.CiphertextBlob, SourceEncryptionContext: pairs, DestinationKeyId: &other})
	if err != nil || moved.SourceKeyMaterialId != nil || moved.DestinationKeyMaterialId == nil {
		t.Fatal(moved, err)
	}
	f.decrypts(moved.CiphertextBlob, string(made.Plaintext), nil)
	random, err := f.GenerateRandom(f.ctx(), &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(16), CustomKeyStoreId: &id})
	if err != nil || len(random.Plaintext) != 16 || bytes.Equal(random.Plaintext, make([]byte, 16)) {
		t.Error(random, err)
	}
}

func TestADisconnectedKeyStoreMakesItsKeysUnavailable(t *testing.T) {
	f := newService(t)
	id := f.clusterStore(secondCluster, clusterPIN)
	f.connect(id)
	key, other := f.clusterKey(id), f.clusterKey(id)
	blob := f.encrypt(*key.KeyId, "text", nil)
	f.disconnect(id)
	if m := f.describe(*key.KeyId); m.KeyState != types.KeyStateUnavailable || m.Enabled {
		t.Errorf("%+v", m)
	}
	unavailable := f.arn(*key.KeyId) + " is unavailable."
	_, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "KMSInvalidStateException", unavailable)
	_, err = f.Encrypt(f.ctx(), &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x")})
	wantError(t, err, "KMSInvalidStateException", unavailable)
	_, err = f.GenerateRandom(f.ctx(), &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(16), CustomKeyStoreId: &id})
	wantError(t, err, "CustomKeyStoreInvalidStateException", "*")
	// A state that is set meanwhile shows once the key is available again.
	if _, err := f.DisableKey(f.ctx(), &kms.DisableKeyInput{KeyId: other.KeyId}); err != nil {
		t.Fatal(err)
	}
	if state := f.describe(*other.KeyId).KeyState; state != types.KeyStateUnavailable {
		t.Error(state)
	}
	f.connect(id)
	f.decrypts(blob, "text", nil)
	if state := f.describe(*other.KeyId).KeyState; state != types.KeyStateDisabled {
		t.Error(state)
	}
	_, err = f.DisconnectCustomKeyStore(f.ctx(), &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: aws.String("cks-none")})
	wantError(t, err, "CustomKeyStoreNotFoundException", "*")
	f.disconnect(id)
	_, err = f.DisconnectCustomKeyStore(f.ctx(), &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: &id})
	wantError(t, err, "CustomKeyStoreInvalidStateException", "*")
}

func TestConnectingTellsWhyItFailed(t *testing.T) {
	for cluster, c := range map[string]struct {
		pin  string
		code types.ConnectionErrorCodeType
	}{
		secondCluster:  {"not-the-pin", types.ConnectionErrorCodeTypeInvalidCredentials},
		missingCluster: {clusterPIN, types.ConnectionErrorCodeTypeClusterNotFound},
		ownCluster:     {"1234567", types.ConnectionErrorCodeTypeInternalError},
	} {
		t.Run(cluster, func(t *testing.T) {
			f := newService(t)
			id := f.clusterStore(cluster, c.pin)
			f.connect(id)
			f.wantConnection(id, types.ConnectionStateTypeFailed, c.code)
			_, err := f.ConnectCustomKeyStore(f.ctx(), &kms.ConnectCustomKeyStoreInput{CustomKeyStoreId: &id})
			wantError(t, err, "CustomKeyStoreInvalidStateException", "*")
			_, err = f.UpdateCustomKeyStore(f.ctx(), &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &id, KeyStorePassword: aws.String(clusterPIN)})
			wantError(t, err, "CustomKeyStoreInvalidStateException", "*")
			f.disconnect(id)
			f.wantConnection(id, types.ConnectionStateTypeDisconnected, "")
			if cluster != secondCluster {
				return
			}
			if _, err = f.UpdateCustomKeyStore(f.ctx(), &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &id, KeyStorePassword: aws.String(clusterPIN)}); err != nil {
				t.Fatal(err)
			}
			f.connect(id)
			f.wantConnection(id, types.ConnectionStateTypeConnected, "")
		})
	}
}

func TestWhatKeysInCustomKeyStoresCannotDo(t *testing.T) {
	f := newService(t)
	id := f.clusterStore(secondCluster, clusterPIN)
	f.connect(id)
	key := f.clusterKey(id).KeyId
	unsupported := f.arn(*key) + " origin is AWS_CLOUDHSM which is not valid for this operation."
	for name, call := range map[string]func() error{
		"EnableKeyRotation": func() error {
			_, err := f.EnableKeyRotation(f.ctx(), &kms.EnableKeyRotationInput{KeyId: key})
			return err
		},
		"GetKeyRotationStatus": func() error {
			_, err := f.GetKeyRotationStatus(f.ctx(), &kms.GetKeyRotationStatusInput{KeyId: key})
			return err
		},
		"RotateKeyOnDemand": func() error {
			_, err := f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: key})
			return err
		},
		"ListKeyRotations": func() error {
			_, err := f.ListKeyRotations(f.ctx(), &kms.ListKeyRotationsInput{KeyId: key})
			return err
		},
		"GenerateDataKeyPair": func() error {
			_, err := f.GenerateDataKeyPair(f.ctx(), &kms.GenerateDataKeyPairInput{KeyId: key, KeyPairSpec: types.DataKeyPairSpecEccNistP256})
			return err
		},
		"GetParametersForImport": func() error {
			_, err := f.GetParametersForImport(f.ctx(), &kms.GetParametersForImportInput{KeyId: key,
				WrappingAlgorithm: types.AlgorithmSpecRsaesOaepSha256, WrappingKeySpec: types.WrappingKeySpecRsa2048})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, call(), "UnsupportedOperationException", unsupported) })
	}
	for name, c := range map[string]struct {
		in   kms.CreateKeyInput
		want string
	}{
		"asymmetric":         {kms.CreateKeyInput{CustomKeyStoreId: &id, Origin: types.OriginTypeAwsCloudhsm, KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify}, "UnsupportedOperationException"},
		"HMAC":               {kms.CreateKeyInput{CustomKeyStoreId: &id, Origin: types.OriginTypeAwsCloudhsm, KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac}, "UnsupportedOperationException"},
		"multi-Region":       {kms.CreateKeyInput{CustomKeyStoreId: &id, Origin: types.OriginTypeAwsCloudhsm, MultiRegion: aws.Bool(true)}, "UnsupportedOperationException"},
		"no origin":          {kms.CreateKeyInput{CustomKeyStoreId: &id}, "ValidationException"},
		"no key store":       {kms.CreateKeyInput{Origin: types.OriginTypeAwsCloudhsm}, "ValidationException"},
		"another type":       {kms.CreateKeyInput{CustomKeyStoreId: &id, Origin: types.OriginTypeExternalKeyStore, XksKeyId: aws.String("k")}, "ValidationException"},
		"an external key":    {kms.CreateKeyInput{CustomKeyStoreId: &id, Origin: types.OriginTypeAwsCloudhsm, XksKeyId: aws.String("k")}, "ValidationException"},
		"an unknown one":     {kms.CreateKeyInput{CustomKeyStoreId: aws.String("cks-0"), Origin: types.OriginTypeAwsCloudhsm}, "CustomKeyStoreNotFoundException"},
		"imported into it":   {kms.CreateKeyInput{CustomKeyStoreId: &id, Origin: types.OriginTypeExternal}, "ValidationException"},
		"the service's own ": {kms.CreateKeyInput{CustomKeyStoreId: &id, Origin: types.OriginTypeAwsKms}, "ValidationException"},
	} {
		t.Run("create "+name, func(t *testing.T) {
			_, err := f.CreateKey(f.ctx(), &c.in)
			wantError(t, err, c.want, "*")
		})
	}
}

func TestDeletingAKeyStoreNeedsItToBeEmptyAndLeavesNoSecret(t *testing.T) {
	f := newService(t)
	id := f.clusterStore(secondCluster, clusterPIN)
	f.connect(id)
	remove := func() error {
		_, err := f.DeleteCustomKeyStore(f.ctx(), &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: &id})
		return err
	}
	wantError(t, remove(), "CustomKeyStoreInvalidStateException", "*")
	key := f.clusterKey(id).KeyId
	backing := f.backing(*key)
	if _, err := f.ScheduleKeyDeletion(f.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: key, PendingWindowInDays: aws.Int32(7)}); err != nil {
		t.Fatal(err)
	}
	wantError(t, remove(), "CustomKeyStoreHasCMKsException", "*")
	f.clock.advance(8 * 24 * time.Hour)
	if err := f.Sweep(f.ctx()); err != nil {
		t.Fatal(err)
	}
	if hasKey(t, secondCluster, backing) {
		t.Error("a deleted key's backing key is still in the second token")
	}
	ks := f.stored(id)
	f.disconnect(id)
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if has, err := token.HasKey(f.ctx(), hsm.KeyID(ks.Backing)); err != nil || has {
		t.Error("the secret's wrapping key is still there", err)
	}
	wantError(t, remove(), "CustomKeyStoreNotFoundException", "*")
}

func (f *fixture) stored(id string) (ks store.KeyStore) {
	f.t.Helper()
	if err := f.config.Store.View(f.ctx(), func(tx store.Tx) (err error) {
		ks, err = tx.KeyStore(f.ctx(), f.scope(), id)
		return err
	}); err != nil {
		f.t.Fatal(err)
	}
	return ks
}

// A key store that isn't connected doesn't keep a key from being deleted.
func TestADeletedKeyMayLeaveItsMaterialInADisconnectedToken(t *testing.T) {
	f := newService(t)
	id := f.clusterStore(secondCluster, clusterPIN)
	f.connect(id)
	key := f.clusterKey(id).KeyId
	backing := f.backing(*key)
	if _, err := f.ScheduleKeyDeletion(f.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: key, PendingWindowInDays: aws.Int32(7)}); err != nil {
		t.Fatal(err)
	}
	f.disconnect(id)
	if state := f.describe(*key).KeyState; state != types.KeyStatePendingDeletion {
		t.Error(state)
	}
	f.clock.advance(8 * 24 * time.Hour)
	_, err := f.DescribeKey(f.ctx(), &kms.DescribeKeyInput{KeyId: key})
	wantError(t, err, "NotFoundException", "*")
	if !hasKey(t, secondCluster, backing) {
		t.Error("the key was destroyed in a token that was not connected")
	}
}

func TestProcessesThatShareAStoreSeeAConnectionEndAtOnce(t *testing.T) {
	f := newService(t)
	other := openService(t, f.dir, f.clock, token)
	id := f.clusterStore(secondCluster, clusterPIN)
	f.connect(id)
	key := f.clusterKey(id)
	blob := f.encrypt(*key.KeyId, "text", nil)
	other.decrypts(blob, "text", nil) // by a connection of its own
	f.disconnect(id)
	_, err := other.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "KMSInvalidStateException", f.arn(*key.KeyId)+" is unavailable.")
	if err := other.Sweep(t.Context()); err != nil || len(other.connections.refs()) != 0 {
		t.Errorf("the other process stays logged in: %v, %v", other.connections.refs(), err)
	}
	other.connect(id)
	f.decrypts(blob, "text", nil)
	other.decrypts(blob, "text", nil)
}

func TestSecretsOfKeyStoresAreNeitherInTheDatabaseNorInTheTrail(t *testing.T) {
	f := newService(t)
	id := f.clusterStore(secondCluster, clusterPIN)
	f.connect(id)
	f.disconnect(id)
	const next = "another-pin-for-it"
	if _, err := f.UpdateCustomKeyStore(f.ctx(), &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &id, KeyStorePassword: aws.String(next)}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(f.dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if s := string(text); strings.Contains(s, clusterPIN) || strings.Contains(s, next) {
			t.Errorf("%s has the PIN", e.Name())
		}
	}
}

func TestAnotherClusterMustHoldTheKeyStoresKeys(t *testing.T) {
	f := newService(t)
	id := f.clusterStore(secondCluster, clusterPIN)
	move := func(cluster, pin string) error {
		_, err := f.UpdateCustomKeyStore(f.ctx(), &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &id, CloudHsmClusterId: &cluster, KeyStorePassword: &pin})
		return err
	}
	wantError(t, move("cluster-unheardofit", clusterPIN), "CloudHsmClusterNotFoundException", "*")
	f.connect(id)
	f.clusterKey(id)
	wantError(t, move(ownCluster, "1234567"), "CustomKeyStoreInvalidStateException", "*")
	f.disconnect(id)
	wantError(t, move(missingCluster, clusterPIN), "CloudHsmClusterInvalidConfigurationException", "*")
	wantError(t, move(ownCluster, "1234567"), "CloudHsmClusterNotRelatedException", "*")
	if _, err := f.UpdateCustomKeyStore(f.ctx(), &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &id, NewCustomKeyStoreName: aws.String("new name")}); err != nil {
		t.Fatal(err)
	}
	if ks := f.describeStore(id); *ks.CustomKeyStoreName != "new name" || *ks.CloudHsmClusterId != secondCluster {
		t.Errorf("%+v", ks)
	}
}
