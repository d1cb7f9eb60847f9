package keysvc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/keysvc/keypolicy"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

var tableColumns = []types.KeyState{
	types.KeyStateEnabled, types.KeyStateDisabled, types.KeyStatePendingDeletion, types.KeyStatePendingImport,
	types.KeyStateUnavailable, types.KeyStateCreating, types.KeyStateUpdating,
}

// footnotes are the errors that AWS's table refers to by number.
var footnotes = map[string]struct{ name, text string }{
	"1":  {"DisabledException", "%s is disabled."},
	"3":  {"KMSInvalidStateException", "%s is pending deletion."},
	"4":  {"KMSInvalidStateException", "%s is not pending deletion."},
	"5":  {"KMSInvalidStateException", "%s is pending import."},
	"6":  {"UnsupportedOperationException", "%s origin is EXTERNAL which is not valid for this operation."},
	"7":  {"UnsupportedOperationException", "%s origin is AWS_CLOUDHSM which is not valid for this operation."},
	"11": {"KMSInvalidStateException", "%s is unavailable."},
	"14": {"KMSInvalidStateException", "%s is creating."},
	"15": {"KMSInvalidStateException", "%s is updating."},
}

// subject is a key to try an operation on, and what the operation needs beside.
type subject struct {
	*fixture
	*template
	key   string // in the state under test
	other string // an enabled key
	grant string // on key
	alias string // of key

	signing, mac, agreeing, external, primary string // like key, of other kinds
}

// keyOf is the key that an operation is tried on.
func (s *subject) keyOf(op string) string {
	switch op {
	case "Sign", "Verify", "GetPublicKey", "Encapsulate", "Decapsulate":
		return s.signing
	case "GenerateMac", "VerifyMac":
		return s.mac
	case "DeriveSharedSecret":
		return s.agreeing
	case "GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial":
		return s.external
	case "ReplicateKey", "UpdatePrimaryRegion":
		return s.primary
	}
	return s.key
}

// attempts do each operation of the table once.
var attempts = map[string]func(s *subject) error{
	"CancelKeyDeletion": func(s *subject) error {
		_, err := s.CancelKeyDeletion(s.ctx(), &kms.CancelKeyDeletionInput{KeyId: &s.key})
		return err
	},
	"CreateAlias": func(s *subject) error {
		_, err := s.CreateAlias(s.ctx(), &kms.CreateAliasInput{AliasName: aws.String("alias/new"), TargetKeyId: &s.key})
		return err
	},
	"CreateGrant": func(s *subject) error {
		_, err := s.CreateGrant(s.ctx(), &kms.CreateGrantInput{KeyId: &s.key, GranteePrincipal: aws.String(userARN),
			Operations: []types.GrantOperation{types.GrantOperationDecrypt}})
		return err
	},
	"Decapsulate": func(s *subject) error {
		_, err := s.Decapsulate(s.ctx(), &kms.DecapsulateInput{KeyId: &s.signing, EncapsulationAlgorithm: types.EncapsulationAlgorithmSpecMlKem, SharedSecretCiphertextBlob: []byte("x")})
		return butForUsage(err)
	},
	"Encapsulate": func(s *subject) error {
		_, err := s.Encapsulate(s.ctx(), &kms.EncapsulateInput{KeyId: &s.signing, EncapsulationAlgorithm: types.EncapsulationAlgorithmSpecMlKem})
		return butForUsage(err)
	},
	"Decrypt": func(s *subject) error {
		_, err := s.Decrypt(s.ctx(), &kms.DecryptInput{CiphertextBlob: s.blob})
		_, err2 := s.Decrypt(s.ctx(), &kms.DecryptInput{CiphertextBlob: s.blob, KeyId: &s.key})
		return same(s.t, err, err2)
	},
	"DeleteAlias": func(s *subject) error {
		_, err := s.DeleteAlias(s.ctx(), &kms.DeleteAliasInput{AliasName: &s.alias})
		return err
	},
	"DescribeKey": func(s *subject) error {
		_, err := s.DescribeKey(s.ctx(), &kms.DescribeKeyInput{KeyId: &s.key})
		return err
	},
	"DisableKey": func(s *subject) error {
		_, err := s.DisableKey(s.ctx(), &kms.DisableKeyInput{KeyId: &s.key})
		return err
	},
	"DisableKeyRotation": func(s *subject) error {
		_, err := s.DisableKeyRotation(s.ctx(), &kms.DisableKeyRotationInput{KeyId: &s.key})
		return err
	},
	"EnableKey": func(s *subject) error {
		_, err := s.EnableKey(s.ctx(), &kms.EnableKeyInput{KeyId: &s.key})
		return err
	},
	"EnableKeyRotation": func(s *subject) error {
		_, err := s.EnableKeyRotation(s.ctx(), &kms.EnableKeyRotationInput{KeyId: &s.key})
		return err
	},
	"Encrypt": func(s *subject) error {
		_, err := s.Encrypt(s.ctx(), &kms.EncryptInput{KeyId: &s.key, Plaintext: []byte("x")})
		return err
	},
	"GenerateDataKey": func(s *subject) error {
		_, err := s.GenerateDataKey(s.ctx(), &kms.GenerateDataKeyInput{KeyId: &s.key, KeySpec: types.DataKeySpecAes256})
		return err
	},
	"GenerateDataKeyWithoutPlaintext": func(s *subject) error {
		_, err := s.GenerateDataKeyWithoutPlaintext(s.ctx(), &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &s.key, KeySpec: types.DataKeySpecAes256})
		return err
	},
	"GetKeyLastUsage": func(s *subject) error {
		_, err := s.GetKeyLastUsage(s.ctx(), &kms.GetKeyLastUsageInput{KeyId: &s.key})
		return err
	},
	"GetKeyPolicy": func(s *subject) error {
		_, err := s.GetKeyPolicy(s.ctx(), &kms.GetKeyPolicyInput{KeyId: &s.key})
		return err
	},
	"ListKeyPolicies": func(s *subject) error {
		_, err := s.ListKeyPolicies(s.ctx(), &kms.ListKeyPoliciesInput{KeyId: &s.key})
		return err
	},
	"PutKeyPolicy": func(s *subject) error {
		_, err := s.PutKeyPolicy(s.ctx(), &kms.PutKeyPolicyInput{KeyId: &s.key, Policy: aws.String(keypolicy.Default(testAccount))})
		return err
	},
	"GetKeyRotationStatus": func(s *subject) error {
		_, err := s.GetKeyRotationStatus(s.ctx(), &kms.GetKeyRotationStatusInput{KeyId: &s.key})
		return err
	},
	"ListAliases": func(s *subject) error {
		_, err := s.ListAliases(s.ctx(), &kms.ListAliasesInput{KeyId: &s.key})
		return err
	},
	"ListGrants": func(s *subject) error {
		_, err := s.ListGrants(s.ctx(), &kms.ListGrantsInput{KeyId: &s.key})
		return err
	},
	"ListKeyRotations": func(s *subject) error {
		_, err := s.ListKeyRotations(s.ctx(), &kms.ListKeyRotationsInput{KeyId: &s.key})
		return err
	},
	"ListResourceTags": func(s *subject) error {
		_, err := s.ListResourceTags(s.ctx(), &kms.ListResourceTagsInput{KeyId: &s.key})
		return err
	},
	"ReEncryptFrom": func(s *subject) error {
		_, err := s.ReEncrypt(s.ctx(), &kms.ReEncryptInput{CiphertextBlob: s.blob, DestinationKeyId: &s.other})
		return err
	},
	"ReEncryptTo": func(s *subject) error {
		_, err := s.ReEncrypt(s.ctx(), &kms.ReEncryptInput{CiphertextBlob: s.encrypt(s.other, "x", nil), DestinationKeyId: &s.key})
		return err
	},
	"RetireGrant": func(s *subject) error {
		_, err := s.RetireGrant(s.ctx(), &kms.RetireGrantInput{KeyId: &s.key, GrantId: &s.grant})
		return err
	},
	"RevokeGrant": func(s *subject) error {
		_, err := s.RevokeGrant(s.ctx(), &kms.RevokeGrantInput{KeyId: &s.key, GrantId: &s.grant})
		return err
	},
	"RotateKeyOnDemand": func(s *subject) error {
		_, err := s.RotateKeyOnDemand(s.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &s.key})
		return err
	},
	"ScheduleKeyDeletion": func(s *subject) error {
		_, err := s.ScheduleKeyDeletion(s.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: &s.key})
		return err
	},
	"TagResource": func(s *subject) error {
		_, err := s.TagResource(s.ctx(), &kms.TagResourceInput{KeyId: &s.key, Tags: []types.Tag{{TagKey: aws.String("k"), TagValue: aws.String("v")}}})
		return err
	},
	"UntagResource": func(s *subject) error {
		_, err := s.UntagResource(s.ctx(), &kms.UntagResourceInput{KeyId: &s.key, TagKeys: []string{"k"}})
		return err
	},
	"UpdateAliasSource": func(s *subject) error {
		_, err := s.UpdateAlias(s.ctx(), &kms.UpdateAliasInput{AliasName: &s.alias, TargetKeyId: &s.other})
		return err
	},
	"UpdateAliasTarget": func(s *subject) error {
		if _, err := s.CreateAlias(s.ctx(), &kms.CreateAliasInput{AliasName: aws.String("alias/other"), TargetKeyId: &s.other}); err != nil {
			s.t.Fatal(err)
		}
		_, err := s.UpdateAlias(s.ctx(), &kms.UpdateAliasInput{AliasName: aws.String("alias/other"), TargetKeyId: &s.key})
		return err
	},
	"ReplicateKey": func(s *subject) error {
		_, err := s.ReplicateKey(s.ctx(), &kms.ReplicateKeyInput{KeyId: &s.primary, ReplicaRegion: aws.String("eu-west-1")})
		return err
	},
	"UpdatePrimaryRegion": func(s *subject) error {
		_, err := s.UpdatePrimaryRegion(s.ctx(), &kms.UpdatePrimaryRegionInput{KeyId: &s.primary, PrimaryRegion: aws.String(otherRegion)})
		return err
	},
	"GetParametersForImport": func(s *subject) error {
		_, err := s.GetParametersForImport(s.ctx(), &kms.GetParametersForImportInput{KeyId: &s.external,
			WrappingAlgorithm: types.AlgorithmSpecRsaesOaepSha1, WrappingKeySpec: types.WrappingKeySpecRsa2048})
		return err
	},
	"ImportKeyMaterial": func(s *subject) error {
		_, err := s.ImportKeyMaterial(s.ctx(), &kms.ImportKeyMaterialInput{KeyId: &s.external, ImportToken: newImportToken(s.wrapping),
			EncryptedKeyMaterial: s.wrapped, ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire})
		return err
	},
	"DeleteImportedKeyMaterial": func(s *subject) error {
		_, err := s.DeleteImportedKeyMaterial(s.ctx(), &kms.DeleteImportedKeyMaterialInput{KeyId: &s.external})
		return err
	},
	"Sign": func(s *subject) error {
		_, err := s.Sign(s.ctx(), &kms.SignInput{KeyId: &s.signing, Message: []byte("x"), SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256})
		return err
	},
	"Verify": func(s *subject) error {
		_, err := s.Verify(s.ctx(), &kms.VerifyInput{KeyId: &s.signing, Message: []byte("x"), SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256, Signature: s.signed})
		return err
	},
	"GetPublicKey": func(s *subject) error {
		_, err := s.GetPublicKey(s.ctx(), &kms.GetPublicKeyInput{KeyId: &s.signing})
		return err
	},
	"GenerateMac": func(s *subject) error {
		_, err := s.GenerateMac(s.ctx(), &kms.GenerateMacInput{KeyId: &s.mac, Message: []byte("x"), MacAlgorithm: types.MacAlgorithmSpecHmacSha256})
		return err
	},
	"VerifyMac": func(s *subject) error {
		_, err := s.VerifyMac(s.ctx(), &kms.VerifyMacInput{KeyId: &s.mac, Message: []byte("x"), MacAlgorithm: types.MacAlgorithmSpecHmacSha256, Mac: s.tag})
		return err
	},
	"DeriveSharedSecret": func(s *subject) error {
		_, err := s.DeriveSharedSecret(s.ctx(), &kms.DeriveSharedSecretInput{KeyId: &s.agreeing, KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh, PublicKey: s.peer})
		return err
	},
	"GenerateDataKeyPair": func(s *subject) error {
		_, err := s.GenerateDataKeyPair(s.ctx(), &kms.GenerateDataKeyPairInput{KeyId: &s.key, KeyPairSpec: types.DataKeyPairSpecEccNistP256})
		return err
	},
	"GenerateDataKeyPairWithoutPlaintext": func(s *subject) error {
		_, err := s.GenerateDataKeyPairWithoutPlaintext(s.ctx(), &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: &s.key, KeyPairSpec: types.DataKeyPairSpecEccNistP256})
		return err
	},
	"UpdateKeyDescription": func(s *subject) error {
		_, err := s.UpdateKeyDescription(s.ctx(), &kms.UpdateKeyDescriptionInput{KeyId: &s.key, Description: aws.String("new")})
		return err
	},
}

// butForUsage is the error of an operation that no token has keys for, if it isn't that.
func butForUsage(err error) error {
	if isKind(err, KindInvalidKeyUsage) {
		return nil
	}
	return err
}

func same(t testing.TB, one, two error) error {
	t.Helper()
	if fmt.Sprint(one) != fmt.Sprint(two) {
		t.Errorf("with and without KeyId: %v, %v", one, two)
	}
	return one
}

// template is keys whose materials are in the token. Subjects are made from it, as
// making keys takes a token a while.
type template struct {
	key, other, signing, mac, agreeing, external, primary store.Key

	blob, signed, tag, peer, wrapped []byte

	wrapping store.Import
}

func newTemplate(t *testing.T) *template {
	t.Helper()
	f := newService(t)
	get := func(id string) store.Key {
		k, err := f.load(f.ctx(), store.KeyRef{Scope: f.scope(), ID: id})
		if err != nil {
			t.Fatal(err)
		}
		return k.Key
	}
	key, signing := f.key(), f.keyOf(types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify)
	mac, agreeing := f.keyOf(types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac), f.keyOf(types.KeySpecEccNistP256, types.KeyUsageTypeKeyAgreement)
	signed, err := f.Sign(f.ctx(), &kms.SignInput{KeyId: &signing, Message: []byte("x"), SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256})
	f.must(signed, err)
	tag, err := f.GenerateMac(f.ctx(), &kms.GenerateMacInput{KeyId: &mac, Message: []byte("x"), MacAlgorithm: types.MacAlgorithmSpecHmacSha256})
	f.must(tag, err)
	external := f.external(types.KeySpecSymmetricDefault, types.KeyUsageTypeEncryptDecrypt)
	p := f.parameters(external, types.AlgorithmSpecRsaesOaepSha1)
	wrapped := p.wrap(bytes.Repeat([]byte{7}, 32))
	f.must(nil, p.importMaterial(wrapped, nil))
	return &template{primary: get(f.primaryKey()), external: get(external), wrapped: wrapped, wrapping: p.stored(), key: get(key), other: get(f.key()), signing: get(signing), mac: get(mac), agreeing: get(agreeing),
		blob: f.encrypt(key, "x", nil), signed: signed.Signature, tag: tag.Mac, peer: f.public(agreeing).PublicKey}
}

// in is a key as it is in a state.
func in(state types.KeyState, key store.Key) store.Key {
	key.State = state
	switch state {
	case types.KeyStatePendingDeletion, types.KeyStatePendingReplicaDeletion:
		key.DeletionDate, key.DeletionWindowDays = time.Now().Add(7*day), 7
	case types.KeyStatePendingImport:
		key.Origin = types.OriginTypeExternal
	case types.KeyStateUnavailable:
		key.Origin = types.OriginTypeAwsCloudhsm
	}
	return key
}

// subject replaces all that is in the service's store by keys in a state and what
// the operations need beside them.
func (from *template) subject(f *fixture, state types.KeyState) *subject {
	f.t.Helper()
	s := &subject{fixture: f, template: from, key: from.key.ID, other: from.other.ID, signing: from.signing.ID, mac: from.mac.ID, agreeing: from.agreeing.ID, external: from.external.ID, primary: from.primary.ID,
		alias: "alias/subject", grant: strings.Repeat("0", 64)}
	err := s.config.Store.Update(s.ctx(), func(tx store.Tx) error {
		if err := tx.DeleteKey(s.ctx(), inRegion(s.scope(), "eu-west-1"), s.primary); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err // an earlier attempt's replica
		}
		for _, key := range []store.Key{in(state, from.primary), replicaOf(&from.primary, otherRegion), in(state, from.key), in(state, from.signing), in(state, from.mac), in(state, from.agreeing), in(state, from.external), from.other} {
			if err := tx.DeleteKey(s.ctx(), key.Scope, key.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err := tx.PutKey(s.ctx(), key); err != nil {
				return err
			}
		}
		return errors.Join(tx.PutImport(s.ctx(), from.wrapping),
			tx.CreateAlias(s.ctx(), s.scope(), store.Alias{Name: s.alias, KeyID: s.key}),
			tx.CreateGrant(s.ctx(), s.scope(), store.Grant{ID: s.grant, KeyID: s.key, Grantee: userARN,
				Operations: []types.GrantOperation{types.GrantOperationDecrypt}, IssuingAccount: rootARN(testAccount)}))
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return s
}

// readStateTable returns the cells of testdata/keystates.txt by operation.
func readStateTable(t *testing.T) map[string][]string {
	t.Helper()
	f, err := os.Open("testdata/keystates.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := map[string][]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if cells := strings.Fields(lines.Text()); len(cells) > 0 && cells[0] != "#" {
			table[cells[0]] = cells[1:]
		}
	}
	return table
}

func TestEveryOperationInEveryKeyState(t *testing.T) {
	table := readStateTable(t)
	if len(table) != len(attempts) {
		t.Errorf("the table has %d operations, the test tries %d", len(table), len(attempts))
	}
	from := newTemplate(t)
	f := newService(t)
	try := func(op string, state types.KeyState, cell string) {
		t.Run(op+"/"+string(state), func(t *testing.T) {
			f.t = t
			tryState(t, op, from.subject(f, state), cell)
		})
	}
	for op, cells := range table {
		for column, state := range tableColumns {
			try(op, state, cells[column])
		}
		try(op, types.KeyStatePendingReplicaDeletion, cells[2])
	}
}

// The table has all operations of the API that name a key, a newer SDK's too.
func TestKeyStateTableHasEveryOperationOnKeys(t *testing.T) {
	table := readStateTable(t)
	client := reflect.TypeFor[*kms.Client]()
	for i := range client.NumMethod() {
		m := client.Method(i)
		if m.Type.NumIn() != 4 || !strings.HasSuffix(m.Type.In(2).String(), "."+m.Name+"Input") {
			continue
		}
		in := m.Type.In(2).Elem()
		namesKey := slices.ContainsFunc([]string{"KeyId", "TargetKeyId", "DestinationKeyId", "AliasName"}, func(member string) bool {
			_, ok := in.FieldByName(member)
			return ok
		})
		rows := 0
		for row := range table {
			if side := strings.TrimPrefix(row, m.Name); row == m.Name || slices.Contains([]string{"From", "To", "Source", "Target"}, side) {
				rows++
			}
		}
		if namesKey != (rows > 0) {
			t.Errorf("%s has %d rows in the table of key states", m.Name, rows)
		}
	}
}

func tryState(t *testing.T, op string, s *subject, cell string) {
	before, err := s.load(s.ctx(), store.KeyRef{Scope: s.scope(), ID: s.keyOf(op)})
	if err != nil {
		t.Fatal(err)
	}
	err = attempts[op](s)
	if cell == "OK" {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	note := footnotes[cell]
	wantError(t, err, note.name, fmt.Sprintf(note.text, s.arn(s.keyOf(op))))
	after, loadErr := s.load(s.ctx(), store.KeyRef{Scope: s.scope(), ID: s.keyOf(op)})
	if loadErr != nil || !reflect.DeepEqual(after.Key, before.Key) {
		t.Errorf("the refused operation has changed the key: %+v, %v", after, loadErr)
	}
	if last := s.last(); last.ErrorCode != note.name || len(last.Resources) == 0 {
		t.Errorf("record of the refusal: %+v", last.Event)
	}
}

func TestUnauthorizedCallerLearnsNothingOfTheState(t *testing.T) {
	from := newTemplate(t)
	for _, state := range tableColumns {
		s := from.subject(newService(t), state)
		ctx := WithCaller(s.ctx(), Caller{ARN: "arn:aws:iam::111122223333:user/nobody"})
		_, err := s.Encrypt(ctx, &kms.EncryptInput{KeyId: &s.key, Plaintext: []byte("x")})
		wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::111122223333:user/nobody is not authorized to perform: kms:Encrypt on resource: "+
			s.arn(s.key)+" because no resource-based policy allows the kms:Encrypt action")
		var e *Error
		if !errors.As(err, &e) || e.Kind.HTTPStatus() != 400 {
			t.Errorf("%v", err)
		}
	}
}
