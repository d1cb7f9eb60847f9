package keysvc

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// keysOfEachKind are a key of each usage and what its operations need.
type keysOfEachKind struct {
	symmetric, rsa, signing, mac, agreeing string

	sealed, signature, tag, peer []byte
}

func (f *fixture) eachKind() *keysOfEachKind {
	k := &keysOfEachKind{
		symmetric: f.key(), rsa: f.keyOf(types.KeySpecRsa2048, types.KeyUsageTypeEncryptDecrypt),
		signing:  f.keyOf(types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify),
		mac:      f.keyOf(types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac),
		agreeing: f.keyOf(types.KeySpecEccNistP256, types.KeyUsageTypeKeyAgreement),
	}
	sealed, err := f.Encrypt(f.ctx(), &kms.EncryptInput{KeyId: &k.rsa, Plaintext: []byte("plain text"), EncryptionAlgorithm: types.EncryptionAlgorithmSpecRsaesOaepSha256})
	f.must(sealed, err)
	signed, err := f.Sign(f.ctx(), &kms.SignInput{KeyId: &k.signing, Message: []byte("a message"), SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256})
	f.must(signed, err)
	tag, err := f.GenerateMac(f.ctx(), &kms.GenerateMacInput{KeyId: &k.mac, Message: []byte("a message"), MacAlgorithm: types.MacAlgorithmSpecHmacSha256})
	f.must(tag, err)
	k.sealed, k.signature, k.tag, k.peer = sealed.CiphertextBlob, signed.Signature, tag.Mac, f.public(k.agreeing).PublicKey
	return k
}

// cryptoCall is one cryptographic operation that would succeed.
type cryptoCall struct {
	name  string
	key   string
	grant types.GrantOperation // that lets it; "" = there is no dry run of it
	call  func(f *fixture, dry *bool, token []string, as string) error
}

func (k *keysOfEachKind) calls() []cryptoCall {
	const oaep, ecdsa = types.EncryptionAlgorithmSpecRsaesOaepSha256, types.SigningAlgorithmSpecEcdsaSha256
	message := []byte("a message")
	as := func(f *fixture, arn string) context.Context { return WithCaller(f.ctx(), Caller{ARN: arn}) }
	return []cryptoCall{
		{"Encrypt", k.rsa, types.GrantOperationEncrypt, func(f *fixture, dry *bool, tokens []string, arn string) error {
			_, err := f.Encrypt(as(f, arn), &kms.EncryptInput{KeyId: &k.rsa, Plaintext: message, EncryptionAlgorithm: oaep, DryRun: dry, GrantTokens: tokens})
			return err
		}},
		{"Decrypt", k.rsa, types.GrantOperationDecrypt, func(f *fixture, dry *bool, tokens []string, arn string) error {
			_, err := f.Decrypt(as(f, arn), &kms.DecryptInput{KeyId: &k.rsa, CiphertextBlob: k.sealed, EncryptionAlgorithm: oaep, DryRun: dry, GrantTokens: tokens})
			return err
		}},
		{"Sign", k.signing, types.GrantOperationSign, func(f *fixture, dry *bool, tokens []string, arn string) error {
			_, err := f.Sign(as(f, arn), &kms.SignInput{KeyId: &k.signing, Message: message, SigningAlgorithm: ecdsa, DryRun: dry, GrantTokens: tokens})
			return err
		}},
		{"Verify", k.signing, types.GrantOperationVerify, func(f *fixture, dry *bool, tokens []string, arn string) error {
			_, err := f.Verify(as(f, arn), &kms.VerifyInput{KeyId: &k.signing, Message: message, SigningAlgorithm: ecdsa, Signature: k.signature, DryRun: dry, GrantTokens: tokens})
			return err
		}},
		{"GenerateMac", k.mac, types.GrantOperationGenerateMac, func(f *fixture, dry *bool, tokens []string, arn string) error {
			_, err := f.GenerateMac(as(f, arn), &kms.GenerateMacInput{KeyId: &k.mac, Message: message, MacAlgorithm: types.MacAlgorithmSpecHmacSha256, DryRun: dry, GrantTokens: tokens})
			return err
		}},
		{"VerifyMac", k.mac, types.GrantOperationVerifyMac, func(f *fixture, dry *bool, tokens []string, arn string) error {
			_, err := f.VerifyMac(as(f, arn), &kms.VerifyMacInput{KeyId: &k.mac, Message: message, MacAlgorithm: types.MacAlgorithmSpecHmacSha256, Mac: k.tag, DryRun: dry, GrantTokens: tokens})
			return err
		}},
		{"DeriveSharedSecret", k.agreeing, types.GrantOperationDeriveSharedSecret, func(f *fixture, dry *bool, tokens []string, arn string) error {
			_, err := f.DeriveSharedSecret(as(f, arn), &kms.DeriveSharedSecretInput{KeyId: &k.agreeing, PublicKey: k.peer,
				KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh, DryRun: dry, GrantTokens: tokens})
			return err
		}},
		{"GenerateDataKeyPair", k.symmetric, types.GrantOperationGenerateDataKeyPair, func(f *fixture, dry *bool, tokens []string, arn string) error {
			_, err := f.GenerateDataKeyPair(as(f, arn), &kms.GenerateDataKeyPairInput{KeyId: &k.symmetric, KeyPairSpec: types.DataKeyPairSpecEccNistP256, DryRun: dry, GrantTokens: tokens})
			return err
		}},
		{"GenerateDataKeyPairWithoutPlaintext", k.symmetric, types.GrantOperationGenerateDataKeyPairWithoutPlaintext, func(f *fixture, dry *bool, tokens []string, arn string) error {
			_, err := f.GenerateDataKeyPairWithoutPlaintext(as(f, arn), &kms.GenerateDataKeyPairWithoutPlaintextInput{
				KeyId: &k.symmetric, KeyPairSpec: types.DataKeyPairSpecEccNistP256, DryRun: dry, GrantTokens: tokens})
			return err
		}},
		{"GetPublicKey", k.signing, types.GrantOperationGetPublicKey, func(f *fixture, _ *bool, tokens []string, arn string) error {
			_, err := f.GetPublicKey(as(f, arn), &kms.GetPublicKeyInput{KeyId: &k.signing, GrantTokens: tokens})
			return err
		}},
	}
}

func TestDryRunOfEveryCryptographicOperation(t *testing.T) {
	f := newService(t)
	for _, c := range f.eachKind().calls() {
		if c.name == "GetPublicKey" {
			continue // has none
		}
		err := c.call(f, aws.Bool(true), nil, "")
		wantError(t, err, "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
		f.must(nil, c.call(f, aws.Bool(false), nil, ""))
	}
}

func TestGrantsLetOthersUseKeysOfEveryKind(t *testing.T) {
	f := newService(t)
	for _, c := range f.eachKind().calls() {
		wantError(t, c.call(f, nil, nil, userARN), "AccessDeniedException", "*")
		grant := f.grant(c.key, nil, c.grant)
		f.must(nil, c.call(f, nil, []string{*grant.GrantToken}, userARN))
		f.must(nil, c.call(f, nil, nil, userARN))
		f.must(f.RevokeGrant(f.ctx(), &kms.RevokeGrantInput{KeyId: &c.key, GrantId: grant.GrantId}))
		wantError(t, c.call(f, nil, nil, userARN), "AccessDeniedException", "*")
	}
}

func TestGrantsFitTheirKeys(t *testing.T) {
	f := newService(t)
	k := f.eachKind()
	refused := map[string]types.GrantOperation{
		k.symmetric: types.GrantOperationSign, k.rsa: types.GrantOperationGenerateDataKey, k.signing: types.GrantOperationDecrypt,
		k.mac: types.GrantOperationGetPublicKey, k.agreeing: types.GrantOperationVerify,
	}
	for key, op := range refused {
		in := &kms.CreateGrantInput{KeyId: &key, GranteePrincipal: aws.String(userARN), Operations: []types.GrantOperation{op}}
		_, err := f.CreateGrant(f.ctx(), in)
		wantError(t, err, "ValidationException", "*")
		if key == k.symmetric {
			continue
		}
		in.Operations = []types.GrantOperation{types.GrantOperationDescribeKey}
		in.Constraints = &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": "b"}}
		_, err = f.CreateGrant(f.ctx(), in)
		wantError(t, err, "ValidationException", "*")
	}
}

func TestTrailHoldsNoSecretsOfAsymmetricOperations(t *testing.T) {
	f := newService(t)
	k := f.eachKind()
	for _, c := range k.calls() {
		f.must(nil, c.call(f, nil, nil, ""))
		r := f.last()
		if r.EventName != c.name || r.ResponseElements != nil || !r.ReadOnly || len(r.Resources) != 1 || r.Resources[0].ARN != f.arn(c.key) ||
			r.RequestParameters["keyId"] != c.key {
			t.Errorf("%s: %+v", c.name, r.Event)
		}
	}
	secret, err := f.DeriveSharedSecret(f.ctx(), &kms.DeriveSharedSecretInput{KeyId: &k.agreeing, PublicKey: k.peer, KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh})
	f.must(secret, err)
	pair, err := f.GenerateDataKeyPair(f.ctx(), &kms.GenerateDataKeyPairInput{KeyId: &k.symmetric, KeyPairSpec: types.DataKeyPairSpecEccNistP256})
	f.must(pair, err)
	trail, err := os.ReadFile(filepath.Join(f.dir, "audit.jsonl"))
	f.must(trail, err)
	for name, secret := range map[string][]byte{
		"message": []byte("a message"), "plaintext": []byte("plain text"), "ciphertext": k.sealed, "signature": k.signature, "MAC": k.tag,
		"shared secret": secret.SharedSecret, "private key": pair.PrivateKeyPlaintext,
	} {
		for _, form := range []string{string(secret), base64.StdEncoding.EncodeToString(secret), hex.EncodeToString(secret)} {
			if bytes.Contains(trail, []byte(form)) {
				t.Errorf("the trail holds the %s", name)
			}
		}
	}
}
