package keysvc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/hsm"
	"github.com/kmsfs/kmsfs/hsm/publickey"
	"github.com/kmsfs/kmsfs/keysvc/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// external makes a key that waits for imported material.
func (f *fixture) external(spec types.KeySpec, usage types.KeyUsageType) string {
	f.t.Helper()
	out, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage, Origin: types.OriginTypeExternal})
	if err != nil {
		f.t.Fatal(err)
	}
	return *out.KeyMetadata.KeyId
}

// parameters are what GetParametersForImport gave.
type parameters struct {
	*fixture
	key       string
	algorithm types.AlgorithmSpec
	out       *kms.GetParametersForImportOutput
}

func (f *fixture) parameters(key string, algorithm types.AlgorithmSpec) *parameters {
	f.t.Helper()
	out, err := f.GetParametersForImport(f.ctx(), &kms.GetParametersForImportInput{KeyId: &key, WrappingAlgorithm: algorithm, WrappingKeySpec: types.WrappingKeySpecRsa2048})
	if err != nil {
		f.t.Fatal(err)
	}
	return &parameters{f, key, algorithm, out}
}

// wrap wraps material as a client does.
func (p *parameters) wrap(material []byte) []byte {
	p.t.Helper()
	public, err := publickey.Parse(p.out.PublicKey)
	p.must(public, err)
	how := wrappingAlgorithms[p.algorithm]
	var wrapped []byte
	if how.aesKeyWrap {
		wrapped, err = public.WrapForImport(how.hash.New(), material)
	} else {
		wrapped, err = public.EncryptOAEP(how.hash.New(), material)
	}
	p.must(wrapped, err)
	return wrapped
}

// stored is the wrapping key's record.
func (p *parameters) stored() (i store.Import) {
	p.t.Helper()
	p.must(i, p.config.Store.View(p.ctx(), func(tx store.Tx) (err error) {
		i, err = tx.Import(p.ctx(), p.scope(), store.BackingID(p.out.ImportToken[1:headerSize]))
		return err
	}))
	return i
}

// importMaterial imports what was wrapped, for ever unless change says otherwise.
func (p *parameters) importMaterial(wrapped []byte, change func(*kms.ImportKeyMaterialInput)) error {
	p.t.Helper()
	in := &kms.ImportKeyMaterialInput{KeyId: &p.key, ImportToken: p.out.ImportToken, EncryptedKeyMaterial: wrapped,
		ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire}
	if change != nil {
		change(in)
	}
	_, err := p.ImportKeyMaterial(p.ctx(), in)
	return err
}

func validTo(at time.Time) func(*kms.ImportKeyMaterialInput) {
	return func(in *kms.ImportKeyMaterialInput) {
		in.ExpirationModel, in.ValidTo = types.ExpirationModelTypeKeyMaterialExpires, &at
	}
}

func TestImportedMaterialIsUsedDeletedAndImportedAgain(t *testing.T) {
	f := newService(t)
	id := f.external(types.KeySpecSymmetricDefault, "")
	if m := f.describe(id); m.KeyState != types.KeyStatePendingImport || m.Enabled || m.CurrentKeyMaterialId != nil || m.ExpirationModel != "" || m.Origin != types.OriginTypeExternal {
		t.Fatalf("%+v", m)
	}
	_, err := f.Encrypt(f.ctx(), &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	wantError(t, err, "KMSInvalidStateException", f.arn(id)+" is pending import.")
	material := bytes.Repeat([]byte{1}, 32)
	var blob []byte
	var materialID string
	algorithms := []types.AlgorithmSpec{types.AlgorithmSpecRsaesOaepSha1, types.AlgorithmSpecRsaAesKeyWrapSha256,
		types.AlgorithmSpecRsaAesKeyWrapSha1, types.AlgorithmSpecRsaesOaepSha256}
	if testing.Short() {
		algorithms = algorithms[:2]
	}
	for _, algorithm := range algorithms {
		p := f.parameters(id, algorithm)
		if d := p.out.ParametersValidTo.Sub(f.clock.now()); d < importWindow-time.Minute || d > importWindow || *p.out.KeyId != f.arn(id) {
			t.Errorf("%+v", p.out)
		}
		f.must(nil, p.importMaterial(p.wrap(material), nil))
		m := f.describe(id)
		if m.KeyState != types.KeyStateEnabled || m.ExpirationModel != types.ExpirationModelTypeKeyMaterialDoesNotExpire || m.ValidTo != nil {
			t.Fatalf("%+v", m)
		}
		if blob == nil {
			blob, materialID = f.encrypt(id, "text", nil), *m.CurrentKeyMaterialId
		}
		f.decrypts(blob, "text", nil)
		other := p.importMaterial(p.wrap(bytes.Repeat([]byte{2}, 32)), nil)
		wantError(t, other, "IncorrectKeyMaterialException", "*")
		f.must(nil, p.importMaterial(p.wrap(material), nil)) // while it is there
		backing := f.backings(id)[0]
		deleted, err := f.DeleteImportedKeyMaterial(f.ctx(), &kms.DeleteImportedKeyMaterialInput{KeyId: &id})
		if err != nil || *deleted.KeyMaterialId != materialID || f.inToken(backing) || len(f.backings(id)) != 1 {
			t.Fatalf("%+v, %v", deleted, err)
		}
		if said := f.last().ResponseElements; said["keyMaterialId"] != materialID {
			t.Errorf("recorded %v", said)
		}
		if m := f.describe(id); m.KeyState != types.KeyStatePendingImport || *m.CurrentKeyMaterialId != materialID || m.ExpirationModel != "" {
			t.Errorf("%+v", m)
		}
		_, err = f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob})
		wantError(t, err, "KMSInvalidStateException", f.arn(id)+" is pending import.")
		wantError(t, p.importMaterial(p.wrap(bytes.Repeat([]byte{2}, 32)), nil), "IncorrectKeyMaterialException", "*")
	}
}

func TestImportedMaterialExpires(t *testing.T) {
	f := newService(t)
	id := f.external(types.KeySpecSymmetricDefault, "")
	p := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1)
	wrapped := p.wrap(bytes.Repeat([]byte{1}, 32))
	at := f.clock.now().Add(time.Hour)
	f.must(nil, p.importMaterial(wrapped, validTo(at)))
	blob := f.encrypt(id, "text", nil)
	if m := f.describe(id); m.ExpirationModel != types.ExpirationModelTypeKeyMaterialExpires || m.ValidTo.Unix() != at.Unix() {
		t.Errorf("%+v", m)
	}
	f.clock.advance(61 * time.Minute)
	_, err := f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "KMSInvalidStateException", f.arn(id)+" is pending import.")
	if f.inToken(f.backings(id)[0]) {
		t.Error("expired material is still in the token")
	}
	if m := f.describe(id); m.KeyState != types.KeyStatePendingImport || m.ExpirationModel != types.ExpirationModelTypeKeyMaterialExpires || m.ValidTo.Unix() != at.Unix() {
		t.Errorf("nothing tells that the material has expired: %+v", m)
	}
	f.must(nil, p.importMaterial(wrapped, validTo(f.clock.now().Add(time.Hour))))
	f.decrypts(blob, "text", nil)
	f.clock.advance(61 * time.Minute)
	f.must(nil, f.Sweep(f.ctx()))
	if f.inToken(f.backings(id)[0]) {
		t.Error("expired material is still in the token after a sweep")
	}
	events := 0
	for _, r := range f.records() {
		if r.EventName == "DeleteExpiredKeyMaterial" && r.ServiceEventDetails["keyId"] == id {
			events++
		}
	}
	if events != 2 {
		t.Errorf("%d events", events)
	}
}

func TestImportTokensAreForOneKeyAndADay(t *testing.T) {
	f := newService(t)
	id, other := f.external(types.KeySpecSymmetricDefault, ""), f.external(types.KeySpecSymmetricDefault, "")
	p, q := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1), f.parameters(other, types.AlgorithmSpecRsaesOaepSha1)
	wrapped := p.wrap(make([]byte, 32))
	token := func(token []byte) func(*kms.ImportKeyMaterialInput) {
		return func(in *kms.ImportKeyMaterialInput) { in.ImportToken = token }
	}
	flipped := bytes.Clone(p.out.ImportToken)
	flipped[5] ^= 1
	for _, bad := range [][]byte{q.out.ImportToken, flipped, p.out.ImportToken[1:], append(bytes.Clone(p.out.ImportToken), 0)} {
		wantError(t, p.importMaterial(wrapped, token(bad)), "InvalidImportTokenException", "")
	}
	wantError(t, p.importMaterial(q.wrap(make([]byte, 32)), nil), "InvalidCiphertextException", "")
	wrappingKey := hsm.KeyID(p.stored().Backing)
	f.clock.advance(importWindow)
	wantError(t, p.importMaterial(wrapped, nil), "ExpiredImportTokenException", "")
	f.must(nil, f.Sweep(f.ctx()))
	if f.inToken(wrappingKey) {
		t.Error("an expired wrapping key is still in the token")
	}
	wantError(t, p.importMaterial(wrapped, nil), "ExpiredImportTokenException", "") // also when nobody remembers it
	if m := f.describe(id); m.KeyState != types.KeyStatePendingImport || len(f.backings(id)) != 0 {
		t.Errorf("%+v", m)
	}
}

func TestImportRefusesWhatDoesNotFit(t *testing.T) {
	f := newService(t)
	id := f.external(types.KeySpecSymmetricDefault, "")
	p := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1)
	good := p.wrap(make([]byte, 32))
	now := f.clock.now()
	for name, c := range map[string]struct {
		change func(*kms.ImportKeyMaterialInput)
		want   string
	}{
		"A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES":          {func(in *kms.ImportKeyMaterialInput) { in.ExpirationModel = "" }, "ValidationException"},
		"A validTo date can't be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE": {func(in *kms.ImportKeyMaterialInput) { in.ValidTo = &now }, "ValidationException"},
		"The validTo date must be in the future.":                                            {validTo(now), "ValidationException"},
		"The validTo date can be at most 365 days in the future.":                            {validTo(now.Add(366 * day)), "ValidationException"},
		"There is no existing key material of the key " + f.arn(id) + ".":                    {func(in *kms.ImportKeyMaterialInput) { in.ImportType = types.ImportTypeExistingKeyMaterial }, "ValidationException"},
		"A KeyMaterialId can't be specified if the ImportType is NEW_KEY_MATERIAL": {func(in *kms.ImportKeyMaterialInput) {
			in.KeyMaterialId = aws.String(string(bytes.Repeat([]byte("a"), 64)))
		}, "ValidationException"},
		"The key material is not that of key spec SYMMETRIC_DEFAULT.": {func(in *kms.ImportKeyMaterialInput) { in.EncryptedKeyMaterial = p.wrap(make([]byte, 16)) }, "IncorrectKeyMaterialException"},
		"": {func(in *kms.ImportKeyMaterialInput) { in.EncryptedKeyMaterial = good[1:] }, "InvalidCiphertextException"},
	} {
		wantError(t, p.importMaterial(good, c.change), c.want, name)
	}
	if m := f.describe(id); m.KeyState != types.KeyStatePendingImport || len(f.backings(id)) != 0 {
		t.Errorf("%+v", m)
	}
	made := f.key()
	_, err := f.GetParametersForImport(f.ctx(), &kms.GetParametersForImportInput{KeyId: &made, WrappingAlgorithm: types.AlgorithmSpecRsaesOaepSha1, WrappingKeySpec: types.WrappingKeySpecRsa2048})
	wantError(t, err, "UnsupportedOperationException", f.arn(made)+" origin is AWS_KMS which is not valid for this operation.")
	_, err = f.GetParametersForImport(f.ctx(), &kms.GetParametersForImportInput{KeyId: &id, WrappingAlgorithm: types.AlgorithmSpecRsaesPkcs1V15, WrappingKeySpec: types.WrappingKeySpecRsa2048})
	wantError(t, err, "UnsupportedOperationException", "WrappingAlgorithm RSAES_PKCS1_V1_5 is not supported.")
	pair := f.external(types.KeySpecRsa2048, types.KeyUsageTypeSignVerify)
	_, err = f.GetParametersForImport(f.ctx(), &kms.GetParametersForImportInput{KeyId: &pair, WrappingAlgorithm: types.AlgorithmSpecRsaesOaepSha1, WrappingKeySpec: types.WrappingKeySpecRsa2048})
	wantError(t, err, "UnsupportedOperationException", "*")
	_, err = f.EnableKeyRotation(f.ctx(), &kms.EnableKeyRotationInput{KeyId: &id})
	wantError(t, err, "UnsupportedOperationException", f.arn(id)+" origin is EXTERNAL which is not valid for this operation.")
}

func TestImportedPairsAndMACKeysWork(t *testing.T) {
	f := newService(t)
	secret := bytes.Repeat([]byte{9}, 32)
	mac := f.external(types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac)
	p := f.parameters(mac, types.AlgorithmSpecRsaesOaepSha256)
	f.must(nil, p.importMaterial(p.wrap(secret), nil))
	tag, err := f.GenerateMac(f.ctx(), &kms.GenerateMacInput{KeyId: &mac, Message: []byte("m"), MacAlgorithm: types.MacAlgorithmSpecHmacSha256})
	f.must(tag, err)
	want := hmac.New(sha256.New, secret)
	want.Write([]byte("m"))
	if !hmac.Equal(want.Sum(nil), tag.Mac) {
		t.Error("another MAC")
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	f.must(r, err)
	e, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	f.must(e, err)
	f.importsPair(types.KeySpecRsa2048, r, &r.PublicKey, types.SigningAlgorithmSpecRsassaPssSha256)
	f.importsPair(types.KeySpecEccNistP384, e, &e.PublicKey, types.SigningAlgorithmSpecEcdsaSha384)
}

// importsPair imports a private key, uses it, deletes it and imports it again.
func (f *fixture) importsPair(spec types.KeySpec, private, public any, algorithm types.SigningAlgorithmSpec) {
	f.t.Helper()
	id := f.external(spec, types.KeyUsageTypeSignVerify)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	f.must(pkcs8, err)
	der, err := x509.MarshalPKIXPublicKey(public)
	f.must(der, err)
	p := f.parameters(id, types.AlgorithmSpecRsaAesKeyWrapSha256)
	f.must(nil, p.importMaterial(p.wrap(pkcs8), nil))
	if !bytes.Equal(f.public(id).PublicKey, der) {
		f.t.Errorf("%s: another public key", spec)
	}
	f.signsWith(id, der, algorithm, []byte("message"))
	f.must(f.DeleteImportedKeyMaterial(f.ctx(), &kms.DeleteImportedKeyMaterialInput{KeyId: &id}))
	f.must(nil, p.importMaterial(p.wrap(pkcs8), nil))
	f.signsWith(id, der, algorithm, []byte("message"))
	err = p.importMaterial(p.wrap(pkcs8), func(in *kms.ImportKeyMaterialInput) { in.ImportType = types.ImportTypeNewKeyMaterial })
	wantError(f.t, err, "UnsupportedOperationException", "*")
}

func TestNewMaterialBecomesCurrentByRotation(t *testing.T) {
	f := newService(t)
	id := f.external(types.KeySpecSymmetricDefault, "")
	p := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1)
	first, second := p.wrap(bytes.Repeat([]byte{1}, 32)), p.wrap(bytes.Repeat([]byte{2}, 32))
	f.must(nil, p.importMaterial(first, nil))
	_, err := f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id})
	wantError(t, err, "KMSInvalidStateException", "No available key material pending rotation for the key: "+f.arn(id))
	old := f.encrypt(id, "old", nil)
	isNew := func(in *kms.ImportKeyMaterialInput) { in.ImportType = types.ImportTypeNewKeyMaterial }
	f.must(nil, p.importMaterial(second, isNew))
	if out := f.decrypts(f.encrypt(id, "x", nil), "x", nil); *out.KeyMaterialId != materialID(id, store.BackingID(f.backings(id)[0])) {
		t.Error("new material is current before rotation")
	}
	var e *Error
	if err := p.importMaterial(p.wrap(bytes.Repeat([]byte{3}, 32)), isNew); !errors.As(err, &e) || e.Kind != KindInvalidState {
		t.Errorf("a second pending material: %v", err)
	}
	f.must(f.RotateKeyOnDemand(f.ctx(), &kms.RotateKeyOnDemandInput{KeyId: &id}))
	fresh := f.encrypt(id, "new", nil)
	f.decrypts(old, "old", nil)
	list, err := f.ListKeyRotations(f.ctx(), &kms.ListKeyRotationsInput{KeyId: &id, IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial})
	f.must(list, err)
	if r := list.Rotations; len(r) != 2 || r[0].KeyMaterialState != types.KeyMaterialStateNonCurrent || r[1].KeyMaterialState != types.KeyMaterialStateCurrent ||
		r[0].ImportState != types.ImportStateImported || r[1].ExpirationModel != types.ExpirationModelTypeKeyMaterialDoesNotExpire {
		t.Errorf("%+v", list.Rotations)
	}
	// Without one of its materials the key is of no use; each comes back as what it was.
	f.must(f.DeleteImportedKeyMaterial(f.ctx(), &kms.DeleteImportedKeyMaterialInput{KeyId: &id, KeyMaterialId: list.Rotations[0].KeyMaterialId}))
	_, err = f.Decrypt(f.ctx(), &kms.DecryptInput{CiphertextBlob: fresh})
	wantError(t, err, "KMSInvalidStateException", f.arn(id)+" is pending import.")
	f.must(nil, p.importMaterial(first, nil))
	f.decrypts(old, "old", nil)
	f.decrypts(fresh, "new", nil)
}

func TestDeletedKeyTakesItsWrappingKeysAlong(t *testing.T) {
	f := newService(t)
	id := f.external(types.KeySpecSymmetricDefault, "")
	p := f.parameters(id, types.AlgorithmSpecRsaesOaepSha1)
	f.must(nil, p.importMaterial(p.wrap(make([]byte, 32)), nil))
	wrappingKey, backing := hsm.KeyID(p.stored().Backing), f.backings(id)[0]
	f.must(f.ScheduleKeyDeletion(f.ctx(), &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)}))
	f.clock.advance(7 * day)
	f.must(nil, f.Sweep(f.ctx()))
	if f.inToken(wrappingKey) || f.inToken(backing) {
		t.Error("left in the token")
	}
}

func TestTrailSaysWhenMaterialWasInTheProcess(t *testing.T) {
	f := newService(t)
	for algorithm, want := range map[types.AlgorithmSpec]any{types.AlgorithmSpecRsaesOaepSha1: nil, types.AlgorithmSpecRsaesOaepSha256: true} {
		id := f.external(types.KeySpecSymmetricDefault, "")
		p := f.parameters(id, algorithm)
		material := bytes.Repeat([]byte("secret material "), 2)
		f.must(nil, p.importMaterial(p.wrap(material), nil))
		r := f.last()
		if r.EventName != "ImportKeyMaterial" || r.AdditionalEventData["keyMaterialUnwrappedInProcess"] != want || bytes.Contains(r.Line, p.out.ImportToken) {
			t.Errorf("%s: %s", algorithm, r.Line)
		}
	}
}
